"""Extension of a run by further steps (`--extend`)."""

import json
from pathlib import Path

from knowledge.common.files import write_whole
from pipeline.config.recipe import RunConfig
from pipeline.runs.folder import RunFolder
from pipeline.runs.run_record import EXTENSIONS, read_run_record
from segmentation.training.checkpoint import load


def extend(folder: Path, steps: int) -> RunConfig:
    """Raise the number of steps of a run, and return the configuration to resume it with.

    From there on it is a run of the new length: learning rate and ramps are computed for the new
    total. Steps that are done stay as they were. `run.json` lists the extension.

    Args:
        steps: to add to the run's total.

    Raises:
        FileExistsError: another process trains there.
        FileNotFoundError: no run to resume there.
        ValueError: steps below 1, or a fixed horizon of the learning rate before the new end.
    """
    run = RunFolder(folder)
    config = run.read_config()
    if steps < 1:
        raise ValueError(f"--extend {steps}: expected at least 1 step")
    state = load(run.last)
    total = int(state.config["run"]["training"]["steps"])
    wanted = total + steps
    horizon = config.training.rate_horizon_steps
    if horizon is not None and horizon < wanted:
        raise ValueError(
            f"{run.config}: training.rate_horizon_steps = {horizon} ends the learning rate before "
            f"the new total of {wanted} steps; start a run with --init-from {folder}"
        )
    epochs = None if config.training.epochs is None else _epochs(config, wanted)
    training = config.training.model_copy(update={"steps": wanted, "epochs": epochs})
    extended = config.model_copy(update={"training": training})
    with run.lock():
        record = read_run_record(run.provenance) or {"sessions": []}
        extensions = [each for each in record.get(EXTENSIONS, []) if each.get("to") != wanted]
        entry = {"at_step": state.step, "from": total, "to": wanted}
        record[EXTENSIONS] = [*extensions, entry]
        write_whole(run.provenance, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        run.write_config(extended)
    return extended


def _epochs(config: RunConfig, steps: int) -> int:
    length = config.training.epoch_steps
    if steps % length:
        raise ValueError(
            f"--extend: the run counts epochs of {length} steps; give a multiple of {length}"
        )
    return steps // length
