"""Input files of LAMMPS with a stack: the command, and how files are followed."""

from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest

from elmlff_core import StackCalculator
from elmlff_core.lammps import start_lammps
from elmlff_core.lammps.script import Script, read_commands
from elmlff_core.stack.stack import load_stack
from tests.commands.running import run_elmlff
from tests.stack.copper import morse_stack

COPPER = """
units metal
lattice fcc ${a}
region box block 0 1 0 1 0 1
create_box 1 box
create_atoms 1 box
mass 1 63.546
"""
INPUT = f"""# several runs, a loop, and an atom that must not move
variable a index 3.6 3.7
label again
clear
atom_modify map array
{COPPER}
replicate 2 1 1
displace_atoms all random 0.05 0.05 0.05 3 units box
group held id 1
fix hold held setforce 0 0 0
fix move all nve
thermo_style custom step pe press f_elmlff[1]
if "${{a}} > 3.65" then &
  "dump frames all custom 1 frames.lammpstrj id element x y z fx fy fz d_forces_uncertainty" &
  "dump_modify frames element Cu format float %.16g sort id"
run 2
run 1 post no
print \"\"\"a ${{a}} has $(atoms) atoms, # no comment
x1 $(x[1]:%.12f)\"\"\"
next a
jump SELF again
write_data end.data
quit 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lammps")
    morse_stack(found / "fit").save(found / "stack")
    return found


def elmlff(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    done = run_elmlff(("lammps", "stack", *arguments), folder, code, ELMLFF_CACHE=str(folder / "cache"))
    return done.stdout, done.stderr


def test_a_file_with_a_loop_runs_to_its_end(folder):
    (folder / "in.lammps").write_text(INPUT)
    stdout, _ = elmlff(folder, "in.lammps", "-log", "loop.log", "--trust", code=4)
    log = (folder / "loop.log").read_text()
    assert "elmlff: type 1 is Cu (by mass)" in stdout
    for a in ("3.6", "3.7"):
        assert f"\na {a} has 8 atoms, # no comment\n" in log
    held = [float(x) for x in re.findall(r"^x1 (-?\d[\d.e-]*)$", log, re.MULTILINE)]
    # Where displace_atoms has put it, in one of two periodic images: the stack does not move a held atom.
    assert [min(x, 2 * a - x) < 0.05 for x, a in zip(held, (3.6, 3.7), strict=True)] == [True, True]
    frames = ase.io.read(folder / "frames.lammpstrj", ":", format="lammps-dump-text")
    assert len(frames) == 4
    stack = load_stack(folder / "stack", trust=True)
    for frame in frames:
        assert np.array_equal(frame.positions[0], frames[0].positions[0])
        frame_forces, frame.calc = frame.get_forces(), StackCalculator(stack)
        assert np.allclose(frame_forces[1:], frame.get_forces()[1:], atol=1e-6)
        assert np.array_equal(frame_forces[0], np.zeros(3))
    # LAMMPS itself reads the file again: no section needs the fixes of elmlff.
    lmp = start_lammps(["-log", "none", "-screen", "none"])
    lmp.commands_string(f"units metal\nread_data {folder / 'end.data'}")
    assert lmp.get_natoms() == 8
    lmp.close()


def test_variables_and_screen_are_those_of_lammps(folder):
    (folder / "in.var").write_text(COPPER + "print '${word}'\nrun 0\n")
    given = ("-var", "a", "3.6", "--var", "word", "seen", "--screen", "s", "--log", "none", "--trust")
    stdout, _ = elmlff(folder, "in.var", *given)
    assert "seen" in (folder / "s").read_text()
    assert stdout.strip() == "elmlff: type 1 is Cu (by mass)"


WRONG = {
    "no file": (None, (), "cannot read the input file in.wrong"),
    "no command": ("units metal\n\nrum 3\n", (), "line 3 of in.wrong: Unknown command: rum"),
    "no box": ("units metal\n", (), "in.wrong has not used the stack: it needs a box"),
    "no run": (COPPER, (), "in.wrong has not used the stack"),
    "run without a box": ("units metal\nrun 1\n", (), "line 2 of in.wrong: Run command before sim"),
    "an unknown element": (COPPER + "run 0\n", ("--elements", "Cuu"), "'Cuu' is no element"),
    "other units": (COPPER.replace("metal", "lj") + "run 0\n", (), "LAMMPS has `units lj`"),
    "no label": ("jump SELF nowhere\n", (), "line 1 of in.wrong: in.wrong has no label 'nowhere'"),
    "an error inside an if": ('if "1 > 0" then "rum"\n', (), "line 1 of in.wrong: Unknown command: rum"),
    "respa": (
        COPPER + "run_style respa 2 2\nfix move all nve\nrun 3\n", (), "was not asked for forces in this step",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_ends_in_one_line(folder, case):
    text, options, message = WRONG[case]
    (folder / "in.wrong").unlink(missing_ok=True)
    if text is not None:
        (folder / "in.wrong").write_text(text)
    arguments = ("in.wrong", "--trust", "-var", "a", "3.6", "-log", "none", "-screen", "none", *options)
    _, stderr = elmlff(folder, *arguments, code=1)
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_another_force_field_beside_the_stack_is_said(folder):
    (folder / "in.pair").write_text(COPPER + "pair_style lj/cut 3\npair_coeff * * 0.1 2\nrun 0\n")
    stdout, _ = elmlff(folder, "in.pair", "-var", "a", "3.6", "-log", "none", "--trust")
    assert "note: the forces of `pair_style lj/cut 3` are added to those of the stack" in stdout


def test_ctrl_c_says_that_lammps_does_not_resume(folder):
    """What LAMMPS has written stays, and a run by the same command would begin anew."""
    interrupting = 'shell "(sleep 0.5; kill -INT $PPID) &"\n'
    dump = "fix move all nve\ndump frames all custom 1 cut.lammpstrj id type x y z\n"
    (folder / "in.cut").write_text(COPPER + dump + interrupting + "run 1000000\n")
    arguments = ("in.cut", "-var", "a", "3.6", "-log", "none", "-screen", "none", "--trust")
    _, stderr = elmlff(folder, *arguments, code=130)
    assert stderr.strip().startswith("elmlff: interrupted; let the input read a restart file of LAMMPS")
    assert len(stderr.strip().splitlines()) == 1
    assert len(ase.io.read(folder / "cut.lammpstrj", ":", format="lammps-dump-text")) > 1


FLOW = r"""
variable i loop 5
label top
variable j index a "b c"
label inner
print 'i=$i j="$j"' # a comment 'with a quote
next j
jump SELF inner
if "$i == 2" then "include in.more" elif "$i == 3" "print 'three'" "print 'still'" else 'print "nothing"'
if "$i == 4" then "jump SELF out"
next i
jump SELF top
label out
print "i &
  is $i"
variable w string "x # y"
print "${w} $(2*3) $i" # end
jump in.other there
print "never"
"""
MORE = """print 'more $i'
if '$i > 1' then "print 'big'"
"""
OTHER = '''print "never"
label there
print """two
lines"""
'''


def test_files_are_followed_as_lammps_follows_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.flow").write_text(FLOW)
    Path("in.more").write_text(MORE)
    Path("in.other").write_text(OTHER)
    printed = []
    for name in ("lammps", "elmlff"):
        lmp = start_lammps(["-log", f"{name}.log", "-screen", "none", "-echo", "none"])
        if name == "lammps":
            lmp.file("in.flow")
        else:
            assert Script(lmp, lambda _: None, lambda _: None).run(Path("in.flow")) == 0
        lmp.close()
        printed.append(
            re.sub(r"(Total wall|Restoring plugin|Loaded .* plugin).*\n", "", Path(f"{name}.log").read_text())
        )
    assert printed[0] == printed[1]
    assert printed[0].count("big") == 1
    assert "i   is 4" in printed[0]
    assert "never" not in printed[0]


QUOTED = 'print """t\n# u"""'


def test_commands_have_the_number_of_their_first_line(tmp_path):
    path = tmp_path / "in"
    path.write_text("a 1 # x\n\nb &\n  2 &\n3\n" + QUOTED + '\n#&\nstill a comment\nc "#" # d')
    found = [(command.line, command.text) for command in read_commands(path)]
    assert found == [(1, "a 1"), (3, "b   2 3"), (6, QUOTED), (10, 'c "#"')]
