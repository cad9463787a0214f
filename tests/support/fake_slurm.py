"""A SLURM of one machine: `sbatch`, `srun`, `sacct` and `scancel` as scripts for a test's PATH."""

import sys
from pathlib import Path

COMMON = """#!{python}
import os, re, signal, subprocess, sys, time
from pathlib import Path
root = Path({root!r})

def alive(pid):
    try:
        return Path("/proc/" + pid + "/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
"""
SBATCH = """
file = sys.argv[-1]
text = Path(file).read_text()
(root / "submitted").open("a").write(text)
number = str(1 + len(list(root.glob("job*"))))
array = re.search(r"--array=0-([0-9]+)", text)
folder = root / ("job" + number)
folder.mkdir()
for index in range(int(array[1]) + 1 if array else 1):
    own = dict(os.environ, SLURM_JOB_ID=number, SLURM_NTASKS="1", SLURM_PROCID="0",
               SLURM_LOCALID="0", SLURM_NODEID="0", SLURM_JOB_NUM_NODES="1",
               SLURM_JOB_NODELIST="node")
    name = number
    if array:
        own |= dict(SLURM_ARRAY_JOB_ID=number, SLURM_ARRAY_TASK_ID=str(index))
        name = number + "_" + str(index)
    log = (root / ("log" + name)).open("w")
    run = subprocess.Popen(["bash", file], env=own, stdout=log, stderr=log, start_new_session=True)
    (folder / name).write_text(str(run.pid))
print("Submitted batch job " + number)
"""
SRUN = """
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[2:] if words[0] in ("--output", "--error") else words[1:]
os.execvp(words[0], words)
"""
SACCT = """
print("JobID|State|NodeList")
wanted = {word for before, word in zip(sys.argv, sys.argv[1:]) if before == "-j"}
for number in sorted(wanted):
    for path in (root / ("job" + number)).iterdir():
        state = "RUNNING" if alive(path.read_text()) else "COMPLETED"
        print(path.name + "|" + state + "|node")
"""
SCANCEL = """
number, _, index = sys.argv[-1].partition("_")
for path in (root / ("job" + number)).iterdir():
    if path.name == sys.argv[-1] or not index:
        os.killpg(int(path.read_text()), signal.SIGTERM)
"""


def install(folder: Path) -> Path:
    """Write the scripts; gives the folder for PATH."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(parents=True)
    common = COMMON.format(python=sys.executable, root=str(folder))
    scripts = {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": SCANCEL}
    for name, text in scripts.items():
        path = bin_folder / name
        path.write_text(common + text)
        path.chmod(0o755)
    return bin_folder


def jobs(folder: Path) -> dict[str, int]:
    """Process groups of the tasks by name, such as `1_0`."""
    return {path.name: int(path.read_text()) for path in folder.glob("job*/*")}
