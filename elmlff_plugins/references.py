r"""The papers of what comes with elmlff, as BibTeX, for the field `citation` of plugin records and `elmlff cite`.

Sources of the entries: the CITATIONS.bib of DeePMD-kit, the README of SchNetPack, and the pages of GPUMD and calorine;
for universal force fields, the README files of their packages and arXiv.
"""

ASE = r"""@article{Larsen2017,
  author  = {Hjorth Larsen, Ask and J{\o}rgen Mortensen, Jens and Blomqvist, Jakob and Castelli, Ivano E. and
             Christensen, Rune and Du{\l}ak, Marcin and Friis, Jesper and Groves, Michael N. and Hammer, Bj{\o}rk and
             Hargus, Cory and Hermes, Eric D. and Jennings, Paul C. and Bjerre Jensen, Peter and Kermode, James and
             Kitchin, John R. and Leonhard Kolsbjerg, Esben and Kubal, Joseph and Kaasbjerg, Kristen and
             Lysgaard, Steen and Bergmann Maronsson, J{\'o}n and Maxson, Tristan and Olsen, Thomas and
             Pastewka, Lars and Peterson, Andrew and Rostgaard, Carsten and Schi{\o}tz, Jakob and Sch{\"u}tt, Ole and
             Strange, Mikkel and Thygesen, Kristian S. and Vegge, Tejs and Vilhelmsen, Lasse and Walter, Michael and
             Zeng, Zhenhua and Jacobsen, Karsten W.},
  title   = {The atomic simulation environment---a {Python} library for working with atoms},
  journal = {Journal of Physics: Condensed Matter},
  volume  = {29},
  number  = {27},
  pages   = {273002},
  year    = {2017},
  doi     = {10.1088/1361-648X/aa680e},
}"""

DEEPMD_KIT = r"""@article{Zeng2025,
  author  = {Zeng, Jinzhe and Zhang, Duo and Peng, Anyang and Zhang, Xiangyu and He, Sensen and Wang, Yan and
             Liu, Xinzijian and Bi, Hangrui and Li, Yifan and Cai, Chun and Zhang, Chengqian and Du, Yiming and
             Zhu, Jia-Xin and Mo, Pinghui and Huang, Zhengtao and Zeng, Qiyu and Shi, Shaochen and Qin, Xuejian and
             Yu, Zhaoxi and Luo, Chenxing and Ding, Ye and Liu, Yun-Pei and Shi, Ruosong and Wang, Zhenyu and
             Bore, Sigbj{\o}rn L{\o}land and Chang, Junhan and Deng, Zhe and Ding, Zhaohan and Han, Siyuan and
             Jiang, Wanrun and Ke, Guolin and Liu, Zhaoqing and Lu, Denghui and Muraoka, Koki and
             Oliaei, Hananeh and Singh, Anurag Kumar and Que, Haohui and Xu, Weihong and Xu, Zhangmancang and
             Zhuang, Yong-Bin and Dai, Jiayu and Giese, Timothy J. and Jia, Weile and Xu, Ben and York, Darrin M. and
             Zhang, Linfeng and Wang, Han},
  title   = {{DeePMD-kit} v3: A Multiple-Backend Framework for Machine Learning Potentials},
  journal = {Journal of Chemical Theory and Computation},
  volume  = {21},
  number  = {9},
  pages   = {4375--4385},
  year    = {2025},
  doi     = {10.1021/acs.jctc.5c00340},
}"""

DEEP_POTENTIAL = r"""@incollection{Zhang2018,
  author    = {Zhang, Linfeng and Han, Jiequn and Wang, Han and Saidi, Wissam and Car, Roberto and E, Weinan},
  title     = {End-to-end Symmetry Preserving Inter-atomic Potential Energy Model for Finite and Extended Systems},
  booktitle = {Advances in Neural Information Processing Systems 31},
  pages     = {4436--4446},
  publisher = {Curran Associates, Inc.},
  year      = {2018},
  url       = {https://dl.acm.org/doi/10.5555/3327345.3327356},
}"""

THREE_BODY_DEEP_POTENTIAL = r"""@article{Wang2022,
  author  = {Wang, Xiaoyang and Wang, Yinan and Zhang, Linfeng and Dai, Fuzhi and Wang, Han},
  title   = {A tungsten deep neural-network potential for simulating mechanical property degradation under fusion
             service environment},
  journal = {Nuclear Fusion},
  volume  = {62},
  number  = {12},
  pages   = {126013},
  year    = {2022},
  doi     = {10.1088/1741-4326/ac888b},
}"""

SCHNETPACK = r"""@article{Schuett2023,
  author  = {Sch{\"u}tt, Kristof T. and Hessmann, Stefaan S. P. and Gebauer, Niklas W. A. and Lederer, Jonas and
             Gastegger, Michael},
  title   = {{SchNetPack} 2.0: A neural network toolbox for atomistic machine learning},
  journal = {The Journal of Chemical Physics},
  volume  = {158},
  number  = {14},
  pages   = {144801},
  year    = {2023},
  doi     = {10.1063/5.0138367},
}"""

SCHNET = r"""@article{Schuett2018,
  author  = {Sch{\"u}tt, K. T. and Sauceda, H. E. and Kindermans, P.-J. and Tkatchenko, A. and M{\"u}ller, K.-R.},
  title   = {{SchNet} -- A deep learning architecture for molecules and materials},
  journal = {The Journal of Chemical Physics},
  volume  = {148},
  number  = {24},
  pages   = {241722},
  year    = {2018},
  doi     = {10.1063/1.5019779},
}"""

ATOMIC_CLUSTER_EXPANSION = r"""@article{Drautz2019,
  author  = {Drautz, Ralf},
  title   = {Atomic cluster expansion for accurate and transferable interatomic potentials},
  journal = {Physical Review B},
  volume  = {99},
  number  = {1},
  pages   = {014104},
  year    = {2019},
  doi     = {10.1103/PhysRevB.99.014104},
}"""

SOAP = r"""@article{Bartok2013,
  author  = {Bart{\'o}k, Albert P. and Kondor, Risi and Cs{\'a}nyi, G{\'a}bor},
  title   = {On representing chemical environments},
  journal = {Physical Review B},
  volume  = {87},
  number  = {18},
  pages   = {184115},
  year    = {2013},
  doi     = {10.1103/PhysRevB.87.184115},
}"""

PAINN = r"""@inproceedings{Schuett2021,
  author    = {Sch{\"u}tt, Kristof T. and Unke, Oliver T. and Gastegger, Michael},
  title     = {Equivariant message passing for the prediction of tensorial properties and molecular spectra},
  booktitle = {Proceedings of the 38th International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {139},
  pages     = {9377--9388},
  publisher = {PMLR},
  year      = {2021},
  url       = {https://proceedings.mlr.press/v139/schutt21a.html},
}"""

NEP = r"""@article{Fan2021,
  author  = {Fan, Zheyong and Zeng, Zezhu and Zhang, Cunzhi and Wang, Yanzhou and Song, Keke and Dong, Haikuan and
             Chen, Yue and Ala-Nissila, Tapio},
  title   = {Neuroevolution machine learning potentials: Combining high accuracy and low cost in atomistic simulations
             and application to heat transport},
  journal = {Physical Review B},
  volume  = {104},
  pages   = {104309},
  year    = {2021},
  doi     = {10.1103/PhysRevB.104.104309},
}"""

GPUMD = r"""@article{Fan2022,
  author  = {Fan, Zheyong and Wang, Yanzhou and Ying, Penghua and Song, Keke and Wang, Junjie and Wang, Yong and
             Zeng, Zezhu and Xu, Ke and Lindgren, Eric and Rahm, J. Magnus and Gabourie, Alexander J. and
             Liu, Jiahui and Dong, Haikuan and Wu, Jianyang and Chen, Yue and Zhong, Zheng and Sun, Jian and
             Erhart, Paul and Su, Yanjing and Ala-Nissila, Tapio},
  title   = {{GPUMD}: A package for constructing accurate machine-learned potentials and performing highly efficient
             atomistic simulations},
  journal = {The Journal of Chemical Physics},
  volume  = {157},
  number  = {11},
  pages   = {114801},
  year    = {2022},
  doi     = {10.1063/5.0106617},
}"""

NEP4 = r"""@article{Song2024,
  author  = {Song, Keke and Zhao, Rui and Liu, Jiahui and Wang, Yanzhou and Lindgren, Eric and Wang, Yong and
             Chen, Shunda and Xu, Ke and Liang, Ting and Ying, Penghua and Xu, Nan and Zhao, Zhiqiang and
             Shi, Jiuyang and Wang, Junjie and Lyu, Shuang and Zeng, Zezhu and Liang, Shirong and Dong, Haikuan and
             Sun, Ligang and Chen, Yue and Zhang, Zhuhua and Guo, Wanlin and Qian, Ping and Sun, Jian and
             Erhart, Paul and Ala-Nissila, Tapio and Su, Yanjing and Fan, Zheyong},
  title   = {General-purpose machine-learned potential for 16 elemental metals and their alloys},
  journal = {Nature Communications},
  volume  = {15},
  pages   = {10208},
  year    = {2024},
  doi     = {10.1038/s41467-024-54554-x},
}"""

CALORINE = r"""@article{Lindgren2024,
  author  = {Lindgren, Eric and Rahm, J. Magnus and Fransson, Erik and Eriksson, Fredrik and {\"O}sterbacka, Nicklas and
             Fan, Zheyong and Erhart, Paul},
  title   = {calorine: A {Python} package for constructing and sampling neuroevolution potential models},
  journal = {Journal of Open Source Software},
  volume  = {9},
  number  = {95},
  pages   = {6264},
  year    = {2024},
  doi     = {10.21105/joss.06264},
}"""

STACKED_REGRESSIONS = r"""@article{Breiman1996,
  author  = {Breiman, Leo},
  title   = {Stacked regressions},
  journal = {Machine Learning},
  volume  = {24},
  number  = {1},
  pages   = {49--64},
  year    = {1996},
  doi     = {10.1007/BF00117832},
}"""

GRAPH_ATTENTION = r"""@inproceedings{Velickovic2018,
  author    = {Veli{\v{c}}kovi{\'c}, Petar and Cucurull, Guillem and Casanova, Arantxa and Romero, Adriana and
               Li{\`o}, Pietro and Bengio, Yoshua},
  title     = {Graph Attention Networks},
  booktitle = {International Conference on Learning Representations},
  year      = {2018},
  url       = {https://arxiv.org/abs/1710.10903},
}"""

CHGNET = r"""@article{Deng2023,
  author  = {Deng, Bowen and Zhong, Peichen and Jun, KyuJung and Riebesell, Janosh and Han, Kevin and
             Bartel, Christopher J. and Ceder, Gerbrand},
  title   = {{CHGNet} as a pretrained universal neural network potential for charge-informed atomistic modelling},
  journal = {Nature Machine Intelligence},
  volume  = {5},
  pages   = {1031--1041},
  year    = {2023},
  doi     = {10.1038/s42256-023-00716-3},
}"""

SEVENNET = r"""@article{Park2024,
  author  = {Park, Yutack and Kim, Jaesun and Hwang, Seungwoo and Han, Seungwu},
  title   = {Scalable Parallel Algorithm for Graph Neural Network Interatomic Potentials in Molecular Dynamics
             Simulations},
  journal = {Journal of Chemical Theory and Computation},
  volume  = {20},
  number  = {11},
  pages   = {4857--4868},
  year    = {2024},
  doi     = {10.1021/acs.jctc.4c00190},
}"""

SEVENNET_MF = r"""@article{Kim2025,
  author  = {Kim, Jaesun and Kim, Jisu and Kim, Jaehoon and Lee, Jiho and Park, Yutack and Kang, Youngho and
             Han, Seungwu},
  title   = {Data-Efficient Multifidelity Training for High-Fidelity Machine Learning Interatomic Potentials},
  journal = {Journal of the American Chemical Society},
  volume  = {147},
  number  = {1},
  pages   = {1042--1054},
  year    = {2025},
  doi     = {10.1021/jacs.4c14455},
}"""

GFN1_XTB = r"""@article{Grimme2017,
  author  = {Grimme, Stefan and Bannwarth, Christoph and Shushkov, Philip},
  title   = {A Robust and Accurate Tight-Binding Quantum Chemical Method for Structures, Vibrational Frequencies, and
             Noncovalent Interactions of Large Molecular Systems Parametrized for All spd-Block Elements (Z = 1--86)},
  journal = {Journal of Chemical Theory and Computation},
  volume  = {13},
  number  = {5},
  pages   = {1989--2009},
  year    = {2017},
  doi     = {10.1021/acs.jctc.7b00118},
}"""

GFN2_XTB = r"""@article{Bannwarth2019,
  author  = {Bannwarth, Christoph and Ehlert, Sebastian and Grimme, Stefan},
  title   = {{GFN2-xTB} -- An Accurate and Broadly Parametrized Self-Consistent Tight-Binding Quantum Chemical Method
             with Multipole Electrostatics and Density-Dependent Dispersion Contributions},
  journal = {Journal of Chemical Theory and Computation},
  volume  = {15},
  number  = {3},
  pages   = {1652--1671},
  year    = {2019},
  doi     = {10.1021/acs.jctc.8b01176},
}"""

TBLITE = r"""@article{Katbashev2025,
  author  = {Katbashev, Abylay and Stahn, Marcel and Rose, Thomas and Alizadeh, Vahideh and Friede, Marvin and
             Plett, Christoph and Steinbach, Pit and Ehlert, Sebastian},
  title   = {Overview on Building Blocks and Applications of Efficient and Robust Extended Tight Binding},
  journal = {The Journal of Physical Chemistry A},
  volume  = {129},
  pages   = {2667--2682},
  year    = {2025},
  doi     = {10.1021/acs.jpca.4c08263},
}"""

MACE = r"""@inproceedings{Batatia2022,
  author    = {Batatia, Ilyes and Kovacs, David Peter and Simm, Gregor N. C. and Ortner, Christoph and
               Csanyi, Gabor},
  title     = {{MACE}: Higher Order Equivariant Message Passing Neural Networks for Fast and Accurate Force Fields},
  booktitle = {Advances in Neural Information Processing Systems 35},
  year      = {2022},
  url       = {https://arxiv.org/abs/2206.07697},
}"""

MACE_MP = r"""@misc{Batatia2024,
  author        = {Batatia, Ilyes and Benner, Philipp and Chiang, Yuan and Elena, Alin M. and others},
  title         = {A foundation model for atomistic materials chemistry},
  year          = {2024},
  eprint        = {2401.00096},
  archiveprefix = {arXiv},
  url           = {https://arxiv.org/abs/2401.00096},
}"""

MACE_OFF = r"""@misc{Kovacs2023,
  author        = {Kov{\'a}cs, D{\'a}vid P{\'e}ter and Moore, J. Harry and Browning, Nicholas J. and others},
  title         = {{MACE-OFF}: Transferable Short Range Machine Learning Force Fields for Organic Molecules},
  year          = {2023},
  eprint        = {2312.15211},
  archiveprefix = {arXiv},
  url           = {https://arxiv.org/abs/2312.15211},
}"""

ORB_V3 = r"""@misc{Rhodes2025,
  author        = {Rhodes, Benjamin and Vandenhaute, Sander and {\v S}imkus, Vaidotas and Gin, James and others},
  title         = {{Orb-v3}: atomistic simulation at scale},
  year          = {2025},
  eprint        = {2504.06231},
  archiveprefix = {arXiv},
  url           = {https://arxiv.org/abs/2504.06231},
}"""

MATTERSIM = r"""@misc{Yang2024,
  author        = {Yang, Han and Hu, Chenxi and Zhou, Yichi and Liu, Xixian and others},
  title         = {{MatterSim}: A Deep Learning Atomistic Model Across Elements, Temperatures and Pressures},
  year          = {2024},
  eprint        = {2405.04967},
  archiveprefix = {arXiv},
  url           = {https://arxiv.org/abs/2405.04967},
}"""

PET_MAD = r"""@article{Mazitov2025,
  author  = {Mazitov, Arslan and Bigi, Filippo and Kellner, Matthias and Pegolo, Paolo and others},
  title   = {{PET-MAD} as a lightweight universal interatomic potential for advanced materials modeling},
  journal = {Nature Communications},
  year    = {2025},
  doi     = {10.1038/s41467-025-65662-7},
}"""

DPA3 = r"""@misc{Zhang2025,
  author        = {Zhang, Duo and Peng, Anyang and Cai, Chun and Li, Wentao and others},
  title         = {A Graph Neural Network for the Era of Large Atomistic Models},
  year          = {2025},
  eprint        = {2506.01686},
  archiveprefix = {arXiv},
  url           = {https://arxiv.org/abs/2506.01686},
}"""
