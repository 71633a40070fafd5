"""The surfaces at which something from outside comes in: a strategy of cases for each."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz import damages
from tests.fuzz.cases import Case, Oracle
from tests.fuzz.damages import FRACTIONS, NUMBERS, Damage
from tests.fuzz.running import CACHE, TRUST_STORE
from tests.fuzz.workplace import BUNDLED, DISTILL, EVALUATE, LAMMPS_INPUT, STACK, SWEEP, TRAIN, Workplace

Cases = st.SearchStrategy[Case]
PREDICT = ("predict", "egat", "--data", "few.extxyz", "-o", "out.extxyz")
NEW = ("stack", "--output", "new")


def data_files(workplace: Workplace) -> Cases:
    """Structures and labels: extxyz, xyz, traj, JSON of ASE, deepmd/npy folders, and structures made from nothing."""
    arrays = workplace.files("npy/set.000")
    numbers = st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1e308, 1e9])
    changes = st.one_of(
        st.tuples(st.sampled_from(["first", "columns"]), st.integers(0, 9)),
        st.tuples(st.just("dtype"), st.sampled_from(["float32", "int64", "complex128", "S8", "bool", "float16"])),
        st.tuples(st.sampled_from(["flat", "object"]), st.none()),
        st.tuples(st.just("number"), numbers),
    ).map(list)
    one_array = st.builds(Damage, st.sampled_from(arrays), st.just("array"), FRACTIONS, changes)
    npy = st.one_of(one_array, *map(damages.file_damages, workplace.files("npy")))
    files = [
        ("few.extxyz", damages.file_damages("few.extxyz")), ("few.extxyz", made_structures()),
        ("few.xyz", damages.file_damages("few.xyz")), ("few.traj", damages.file_damages("few.traj")),
        ("few.json", damages.file_damages("few.json")), ("npy", npy), ("npy", one_array),
    ]  # fmt: skip

    def case(source: str, damage: st.SearchStrategy[Damage]) -> Cases:
        commands = [
            (("evaluate", "egat", "--data", source, "--json"), "stdout"),
            (("evaluate", "linear", "--data", source, "--json"), "stdout"),
            (("predict", "egat", "--data", source, "-o", "out.extxyz"), "out.extxyz"),
            (("predict", "linear", "--data", source, "-o", "out.extxyz"), "out.extxyz"),
            ((*NEW, "--data", source), "new/metrics.json"),
        ]
        return st.builds(
            lambda damage, command: Case("data files", (damage,), *command), damage, st.sampled_from(commands)
        )

    return st.one_of(case(source, damage) for source, damage in files)


def made_structures() -> st.SearchStrategy[Damage]:
    """An extxyz file with strange cells, positions, elements and labels."""
    number = st.one_of(st.floats(-3, 3).map("{:.4f}".format), st.sampled_from(NUMBERS))
    plain = st.floats(-3, 3).map("{:.4f}".format)
    cells = st.sampled_from([
        "7 0 0 0 7 0 0 0 7", "0 0 0 0 0 0 0 0 0", "0.01 0 0 0 0.01 0 0 0 0.01", "7 0 0 7 0 0 7 0 0", "7 0 0 0 7 0",
        "7 0 0 0 7 0 0 0 -7", "1e9 0 0 0 1e9 0 0 0 1e9", "7 0 0 700 7 0 0 0 7", "1 0 0 0 1 0 0 0 1",
        "nan 0 0 0 7 0 0 0 7",
        "0.4 0 0 0 90 0 0 0 90", "7 0 0 0 7 0 7 7 0.001", "5 0 0 0 0 0 0 0 0",
    ])  # fmt: skip
    periodic = st.sampled_from(["T T T", "F F F", "T F F", "T T F", "1 1 1", "x", ""])
    elements = st.sampled_from(["C", "H", "H", "H", "H", "Cu", "U", "X", "Qq", "", "1", "999", "h"])
    properties = st.sampled_from([
        "species:S:1:pos:R:3:REF_forces:R:3", "species:S:1:pos:R:3:forces:R:3", "species:S:1:pos:R:3:REF_forces:S:3",
        "species:S:1:pos:R:2:REF_forces:R:4", "species:S:1:pos:R:3:REF_forces:I:3",
        "pos:R:3:REF_forces:R:3:species:S:1",
        "species:S:1:pos:R:3:forces:L:3", "species:S:0:pos:R:6", "species:S:1:pos:R:3:numbers:R:3", "",
    ])  # fmt: skip

    @st.composite
    def frame(draw: st.DrawFn) -> str:
        strange = draw(st.sampled_from(["numbers", "cell", "elements", "properties", "count", "nothing"]))
        values = number if strange == "numbers" else plain
        n = draw(st.sampled_from([1, 2, 5, 5, 0]))
        symbol = elements if strange == "elements" else st.sampled_from("CHHH")
        rows = [" ".join([draw(symbol), *(draw(values) for _ in range(6))]) for _ in range(n)]
        cell = draw(cells) if strange == "cell" else "7 0 0 0 7 0 0 0 7"
        pbc = draw(periodic) if strange == "cell" else "T T T"
        layout = draw(properties) if strange == "properties" else "species:S:1:pos:R:3:REF_forces:R:3"
        count = draw(st.sampled_from(["0", "-1", "1e3", "7", "99999999999", ""])) if strange == "count" else str(n)
        energy = draw(values)
        stress = draw(
            st.sampled_from(["", "", ' REF_stress="1 2 3"', ' REF_stress="a b c d e f"', ' stress="0 0 0 0 0 0"'])
        )
        comment = f'Lattice="{cell}" Properties={layout} REF_energy="{energy}" pbc="{pbc}"{stress}'
        return "\n".join([count, comment, *rows])

    text = st.lists(frame(), min_size=1, max_size=6).map(lambda frames: "\n".join(frames) + "\n")
    same = st.builds(lambda one, n: "\n".join([one] * n) + "\n", frame(), st.integers(4, 12))
    return st.builds(lambda contents: Damage("few.extxyz", "text", 0.0, contents), st.one_of(text, same))


# Values of settings.  Those of the size of a calculation are small or impossible: a long calculation is no hang.
SIZES = ("0", "-1", "1", "2", "3", "true", '"x"', "1.5", "inf", "nan", "[]", "{}", '""')
VALUES = (
    *SIZES, "1e308", "-1e308", "1e-308", "18446744073709551616", '"auto"', '"[/red]"', r'"$\\frac{$"', '"../up"',
    '"few.extxyz"', '"/"', '"a\\nb"', '"\\u0000"', "[1, 2]", '["lj", "emt"]', '["lj", "lj"]', '[["lj"]]', "{ a = 1 }",
    "1979-05-27", "text without quotes", "", "=", '"' + "x" * 300 + '"', "[" * 500, "4294967295", "0.5", '"linear"',
    '"egat"', '"gat"', '"conservative"', '"cuda"', '"bfloat16"', '"float32"', '"norm"', '"clusters"', '"blocks"',
    '"paper"', '"self"', '"best"', "false",
)  # fmt: skip
KEYS = (
    "budget", "seed", "geometry_only", "data", "data.train", "data.test", "data.test_fraction", "data.valid_fraction",
    "data.split", "data.split_seed", "data.energy_key", "data.forces_key", "models", "models.lj", "models.lj.adapter",
    "models.lj.options", "models.lj.options.calculator", "models.lj.options.arguments", "models.lj.options.elements",
    "models.lj.options.arguments.sigma", "models.lj.options.arguments.epsilon", "models.lj.options.checkpoint_argument",
    "models.lj.checkpoint", "models.lj.python", "models.lj.timeout", "models.lj.trust", "models.tiny.checkpoint",
    "models.new.adapter", "base_models", "meta", "meta.name", "meta.ridge", "meta.nonnegative", "meta.cutoff",
    "meta.egat", "meta.egat.cutoff", "meta.egat.variance", "meta.egat.remove_net_force", "meta.gat.target",
    "meta.gat.readout", "meta.gat.rotate", "meta.gat.residual", "meta.gat.cutoff", "meta.conservative.weights",
    "meta.conservative.cutoff", "training", "training.learning_rate", "training.loss", "training.averaging",
    "training.energy_weight", "training.gradient_clip", "training.warmup_fraction", "training.device",
    "training.precision", "training.fused",
    "nonsense", "a.b.c", "", ".", "meta.", "data..train", '"quoted".key', "é", "[/red]",
)  # fmt: skip
SIZE_KEYS = (
    "seeds", "folds", "models.lj.threads", "meta.egat.width", "meta.egat.layers", "meta.egat.heads",
    "meta.egat.n_radial", "meta.gat.channels", "meta.gat.heads", "meta.gat.averaged_layers", "meta.conservative.heads",
    "training.epochs", "training.batch_size", "training.patience", "models.fresh.options.steps",
    "models.fresh.options.neuron", "models.fresh.options.n_max", "models.fresh.options.l_max",
)  # fmt: skip


def settings(workplace: Workplace) -> Cases:
    """``elmlff.toml`` and ``--set``."""
    assignment = st.one_of(
        st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.builds("{}={}".format, st.sampled_from(SIZE_KEYS), st.sampled_from(SIZES)),
        st.sampled_from(["", "=", "seed", "seed=1=2", "a.b", "--set", "seed=\x00", "é=é"]),
    )
    metas = st.sampled_from(
        [(), (), ("--meta", "egat"), ("--meta", "gat"), ("--meta", "conservative"), ("--meta", "best")]
    )
    commands = st.sampled_from(
        [
            NEW,
            NEW,
            ("sweep", "--executor", "serial", "--output", "new"),
            ("train", "fresh"),
            ("ablate", "--executor", "serial", "--output", "new"),
        ]
    )

    def with_set(command: tuple[str, ...], meta: tuple[str, ...], given: list[str]) -> Case:
        if command[0] in ("train", "ablate"):
            meta = ()
        return Case("settings", (), (*command, *meta, *(part for one in given for part in ("--set", one))))

    by_set = st.builds(with_set, commands, metas, st.lists(assignment, min_size=1, max_size=2))
    lines = st.lists(
        st.one_of(
            st.builds("{} = {}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
            st.builds("[{}]".format, st.sampled_from(KEYS)),
            st.builds("{} = {}".format, st.sampled_from(SIZE_KEYS), st.sampled_from(SIZES)),
        ),
        max_size=4,
    ).map("\n".join)
    damage = st.one_of(
        damages.file_damages("elmlff.toml"),
        st.builds(lambda contents: Damage("elmlff.toml", "text", 0.0, contents), lines),
        st.builds(lambda contents: Damage("elmlff.toml", "text", 0.0, 'data.train = "few.extxyz"\n' + contents), lines),
    )
    light = st.sampled_from(
        [
            ("models", "--json"),
            ("models",),
            ("doctor", "--quick"),
            ("models", "--check", "lj"),
            ("stack", "--models", "lj,emt", "--meta", "linear", "--data", "few.extxyz", "--output", "new"),
        ]
    )
    by_file = st.builds(lambda damage, command: Case("settings", (damage,), command), damage, light)
    return st.one_of(by_set, by_file)


def run_folders(workplace: Workplace) -> Cases:
    """Files of stacks, runs, sweeps, trainings and the trust store: finished, or interrupted before their results."""

    def again(*paths: str) -> tuple[Damage, ...]:
        return tuple(Damage(path, "remove", 0.0, "to be made again") for path in paths)

    def case(
        folder: str, command: tuple[str, ...], result: str, removed: tuple[Damage, ...] = (), oracle: Oracle = "same"
    ) -> Cases:
        gone = [damage.path for damage in removed]
        files = [path for path in workplace.files(folder) if not any(path.startswith(one) for one in gone)]
        return st.sampled_from(files).flatmap(damages.file_damages).map(
            lambda damage: Case("run folders", (*removed, damage), command, result, oracle)
        )  # fmt: skip

    distilled = (
        case("distilled", DISTILL, "distilled/results.json"),
        case("distilled", DISTILL, "distilled/results.json", again("distilled/results.json")),
    )
    return st.one_of(
        *(distilled if workplace.more else ()),
        case("linear", (*NEW, "--from", "linear"), "new/metrics.json"),
        case("linear", EVALUATE, "stdout"),
        case("linear", ("predict", "linear", "--data", "few.extxyz", "-o", "out.extxyz"), "out.extxyz"),
        case("linear", STACK, "stdout"),
        case("linear", STACK, "linear/metrics.json", again("linear/metrics.json")),
        case("linear", ("trust", "linear"), "stdout"),
        case("egat", PREDICT, "out.extxyz"),
        case("egat", ("evaluate", "egat", "--data", "few.extxyz", "--json"), "stdout"),
        case("egat", BUNDLED, "egat/metrics.json", again("egat/metrics.json", "egat/stack.json")),
        case("sweep", SWEEP, "sweep/sweep.json"),
        case("sweep", SWEEP, "sweep/sweep.json", again("sweep/masked/results.json", "sweep/per-subset/lj/result.json")),
        case("elmlff-models", TRAIN, "stdout"),
        case("elmlff-models", ("models", "--json"), "stdout", oracle="any"),  # it lists the damage among its problems
        case("elmlff-models", (*NEW, "--models", "fresh,emt"), "new/metrics.json"),
        case(TRUST_STORE.split("/")[0], EVALUATE, "stdout"),
    )


def checkpoints(workplace: Workplace) -> Cases:
    """Files of base models: by themselves, and those of a finished stack, in which no change may go unnoticed."""
    names = {"nep.txt": "tiny"} | ({"painn.safetensors": "fine", "deep.pth": "deep"} if workplace.more else {})

    def case(path: str) -> Cases:
        commands = st.sampled_from([("models", "--check", names[path]), (*NEW, "--models", f"emt,{names[path]}")])
        return st.builds(
            lambda damage, command: Case("checkpoints", (damage,), command), damages.file_damages(path), commands
        )

    stacked = damages.file_damages("nep.txt").map(
        lambda damage: Case("checkpoints", (damage,), EVALUATE, "stdout", "same")
    )
    return st.one_of(stacked, *map(case, names))


def feature_cache(workplace: Workplace) -> Cases:
    """Files of the feature cache: a damaged one is computed again, and changes nothing."""
    files = [path for path in workplace.files(CACHE) if path.endswith(".safetensors")]
    folders = sorted({path.rsplit("/", 1)[0] for path in files})
    names = st.tuples(st.integers(0, 2), st.sampled_from(["00000000", "00000001", "99999999", "0badcafe", "x", ""]))

    def damage(path: str) -> st.SearchStrategy[Damage]:
        renamed = st.builds(Damage, st.just(path), st.just("rename"), st.just(0.0), names.map(list))
        return st.one_of(damages.byte_damages(path), damages.byte_damages(path), renamed)

    commands = st.sampled_from([(EVALUATE, "stdout"), ((*NEW, "--models", "lj,emt,tiny"), "new/metrics.json")])
    everywhere = st.sampled_from(
        [Damage(path, kind, 0.0, "x") for path in (*folders, CACHE) for kind in ("folder", "text")]
    )
    one = st.one_of(st.sampled_from(files).flatmap(damage), st.sampled_from(files).flatmap(damage), everywhere)
    return st.builds(lambda damage, command: Case("feature cache", (damage,), *command, "same"), one, commands)


LAMMPS = ("lammps", "linear", "in.lammps", "-log", "none", "-screen", "none")


def lammps_inputs(workplace: Workplace) -> Cases:
    """Input files of LAMMPS: damaged texts, and commands where they do not belong."""
    strange = (
        "clear", "unfix elmlff", "unfix elmlff_check", "uncompute thermo_press", "delete_atoms group all", "run 0",
        "pair_style zero 3", "pair_style lj/cut 3", "fix move all npt temp 300 300 0.1 iso 0 0 1", "minimize 0 0 2 4",
        "next worst", "jump nowhere", "include in.lammps", "label here", "quit", "quit 3", "quit x",
        "replicate 2 1 1", "reset_atoms id", "units real", "newton off", "run_style respa 2 2", "mass 1 12.011",
        "set type 2 type 1", "labelmap atom 1 H 2 C", "change_box all boundary p p f", "boundary s s s", "group x id 1",
        'if "1" then "run 1"', "if", "variable elmlff_has_predicted_this_step equal 1", "fix elmlff all nve", "[/red]",
        "read_data few.extxyz", "read_restart elmlff.toml", 'print """', "&", "$", "${nope}", "$(1/0)", "run -1",
        "velocity all set nan nan nan", "displace_atoms all move 1e300 0 0", "set atom 2 x inf", "timestep 1e6",
    )  # fmt: skip
    place = st.integers(0, len(LAMMPS_INPUT.splitlines()))
    one = st.tuples(place, st.sampled_from(strange))

    def with_lines(added: list[tuple[int, str]]) -> Damage:
        lines = LAMMPS_INPUT.splitlines()
        for index, command in sorted(added, reverse=True):
            lines.insert(index, command)
        return Damage("in.lammps", "text", 0.0, "\n".join(lines) + "\n")

    mixed = st.lists(one, min_size=1, max_size=2).map(with_lines)
    # LAMMPS itself aborts at a number that is no double, in a formula.
    damaged = damages.text_damages("in.lammps").filter(lambda damage: damage.value not in ("1e5000", "1e-320"))
    damage = st.one_of(mixed, mixed, damaged)
    elements = st.sampled_from([(), (), (), ("--elements", "C,H"), ("--elements", "H"), ("--elements", "C,Qq")])
    return st.builds(lambda found, named: Case("LAMMPS inputs", (found,), (*LAMMPS, *named)), damage, elements)


WORDS = (
    "linear", "egat", "sweep", "few.extxyz", "few.traj", "npy", "nothing", "", ".", "..", "/", "/dev/null", "-", "--",
    "-1",
    "0", "1", "3", "1e9", "lj", "emt", "tiny", "lj,emt", "lj,,emt", "lj,lj", ",", "fresh", "egat,linear",
    "least-squares",
    "masked", "linear/stack.json", "elmlff.toml", "[/red]", "$\\frac{$", "a b", "é", "\udcff", "x" * 300, "out.extxyz",
    "nowhere/out.extxyz", "few.extxyz@0", "*.extxyz", "methane/x", "serial", "os:system", "nope:nope",
    "lj+emt", "lj+emt,emt", "auto", "seed=1", "random", "blocks", "clusters", "quick",
)  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "stack": ("--models", "--meta", "--data", "--test", "--split", "--energy-key", "--forces-key", "--seed", "--seeds",
              "--set", "--config", "--output", "--folds", "--bundle", "--geometry-only", "--trust", "--models-dir",
              "--from"),
    "distill": ("--into", "--data", "--rattle", "--strain", "--temperatures", "--starts", "--timestep", "--spacing",
                "--driver", "--structures", "--smallest-distance", "--largest-force", "--largest-error", "--no-weights",
                "--no-control", "--seed", "--output", "--models-dir"),
    "sweep": ("--models", "--meta", "--data", "--test", "--method", "--subsets", "--sample", "--workers",
              "--output", "--config", "--seed"),
    "ablate": ("--models", "--data", "--seeds", "--output", "--config"),
    "evaluate": ("--data", "--json", "--trust", "--energy-key", "--forces-key", "--workers"),
    "predict": ("--data", "-o", "--trust", "--committee", "--workers"),
    "md": ("--structure", "--ensemble", "--temperature", "--final-temperature", "--timestep", "--seed", "--write-every",
           "--committee", "--driver", "--stop-above", "--warn-above", "--trajectory", "--output"),
    "relax": ("--structure", "--optimizer", "--cell", "--force", "--committee", "--trajectory", "-o"),
    "compile": ("--structure", "--trust"),
    "lammps": ("--elements", "-log", "-screen", "-var", "--trust"),
    "serve": ("--structure", "--unix", "--port", "--sockets-prefix"),
    "select": ("-n", "--low", "--high", "--labelled", "--descriptors", "--smallest-distance", "--closest", "--output"),
    "label": ("--options", "--output", "--batch", "--write-inputs", "--read-results"),
    "trust": (),
    "train": ("--data", "--seed", "--models-dir", "--config"),
    "models": ("--check", "--load", "--config", "--models-dir", "--json"),
    "plugins": ("--json",),
    "init": ("--force", "--output"),
    "new-adapter": ("--output", "--force"),
    "data": (),
    "nonsense": (),
}  # fmt: skip
FLAGS = (
    "--bundle", "--geometry-only", "--trust", "--json", "--load", "--committee", "--cell", "--no-weights",
    "--no-control",
)  # fmt: skip


def command_lines(workplace: Workplace) -> Cases:
    """Commands, options and arguments in any combination; none that downloads or trains for long."""

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        name = draw(st.sampled_from(list(COMMANDS)))
        parts = [name]
        for option in draw(st.lists(st.sampled_from(COMMANDS[name]), max_size=4)) if COMMANDS[name] else ():
            is_flag = option in FLAGS or (option == "--force" and name != "relax")
            parts += [option] if is_flag else [option, draw(st.sampled_from(WORDS))]
        if name in ("md", "relax"):  # most cases get past the missing option, and none is long
            parts += ["--steps", "5", *draw(st.sampled_from([(), ("--structure", "few.extxyz")]))]
        if name == "serve":  # nobody listens there
            parts += ["--wait", "0", *draw(st.sampled_from([(), ("--structure", "few.extxyz", "--unix", "nobody")]))]
        if name == "distill":  # the last number counts, and is small
            parts += [*draw(st.sampled_from([(), ("linear", "--into", "fresh")])), "--made", "4"]
        if name == "select":
            parts += draw(st.sampled_from([(), ("linear", "few.extxyz"), ("linear", "npy", "few.traj")]))
        if name == "label":  # no word is a calculator that would take long
            parts += draw(st.sampled_from([(), ("few.extxyz", "--calculator", "ase.calculators.emt:EMT")]))
        if name == "compile":  # a stack with a network would take half a minute
            parts += draw(st.sampled_from([(), ("linear",), ("linear", "--structure", "few.extxyz")]))
        if name == "lammps":
            parts += draw(st.sampled_from([(), ("linear", "in.lammps")]))
        if (
            name in ("evaluate", "predict", "md", "relax", "lammps", "serve", "trust", "train", "new-adapter")
            or draw(st.integers(0, 9)) == 0
        ):
            parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(WORDS)))
        if name in ("sweep", "ablate", "label", "distill"):
            parts += ["--executor", "serial"]  # the last one counts: processes take seconds to start
        if name == "data":
            parts += draw(
                st.sampled_from([["list"], ["list", "--json"], ["get", "nope"], ["get", "methane", "--from", "npy"]])
            )
        if draw(st.integers(0, 19)) == 0:
            parts.append(draw(st.sampled_from(["--help", "--version", "--nope", "-h"])))
        return Case("command lines", (), tuple(parts))

    return case().filter(lambda case: "train" not in case.command or not {"lj,emt"} & set(case.command))


SURFACES: dict[str, Callable[[Workplace], Cases]] = {
    "data files": data_files,
    "settings": settings,
    "run folders": run_folders,
    "checkpoints": checkpoints,
    "feature cache": feature_cache,
    "LAMMPS inputs": lammps_inputs,
    "command lines": command_lines,
}
