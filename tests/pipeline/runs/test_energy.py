"""Energy of a training, from counters of the system in a made-up folder."""

import json
import time

import pytest
import torch

from pipeline.runs import energy
from segmentation.training.distributed.ranks import Ranks
from tests.support.command_line import changed, tak
from tests.support.processes import wait_until

CPU = torch.device("cpu")


class Zone:
    """A counter of a processor socket, as Linux shows it."""

    def __init__(self, folder, name="package-0", span=10_000_000):
        self.file = folder / "energy_uj"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{span}\n")
        self.show(0)

    def show(self, microjoules):
        self.file.write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path / "powercap")
    return tmp_path / "powercap"


def test_the_sockets_of_a_machine_are_added_and_their_parts_are_not(powercap):
    one, two = Zone(powercap / "intel-rapl:0"), Zone(powercap / "intel-rapl:1", "package-1")
    core, system = (
        Zone(powercap / "intel-rapl:0:0", "core"),
        Zone(powercap / "intel-rapl:2", "psys"),
    )
    with energy.metered(energy.counters(CPU, Ranks())) as used:
        one.show(3_600_000)
        two.show(1_800_000)
        core.show(900_000)
        system.show(9_000_000)
        assert used() == pytest.approx(5.4 / 3.6e6)
        assert used() == pytest.approx(5.4 / 3.6e6)  # reading again adds nothing


def test_a_counter_that_starts_anew_is_continued_if_it_is_read_in_between(powercap):
    zone = Zone(powercap / "intel-rapl:0", span=10_000_000)
    with energy.metered(energy.counters(CPU, Ranks())) as used:
        for microjoules in (6_000_000, 2_000_000, 8_000_000, 4_000_000):
            zone.show(microjoules)
            used()
        assert used() == pytest.approx(24 / 3.6e6)


def test_counters_are_read_now_and_then(monkeypatch):
    monkeypatch.setattr(energy, "_SECONDS", 0.01)
    readings = []
    with energy.metered([energy.Counter(lambda: readings.append(0) or 0.0)]):
        wait_until(lambda: len(readings) > 5)


def test_without_counters_nothing_is_said(powercap):
    assert energy.counters(CPU, Ranks()) == []
    assert energy.counters(torch.device("meta"), Ranks()) == []
    with energy.metered([]) as used:
        assert used() is None


def test_a_counter_that_cannot_be_read_is_no_counter(powercap):
    zone = Zone(powercap / "intel-rapl:0")
    zone.file.write_text("none\n")
    assert energy.counters(CPU, Ranks()) == []


def test_a_counter_that_fails_in_between_leaves_no_figure(powercap):
    zone = Zone(powercap / "intel-rapl:0")
    with energy.metered(energy.counters(CPU, Ranks())) as used:
        zone.file.unlink()
        assert used() is None
        zone.show(5_000_000)
        assert used() is None  # what was used in between is not known


def test_processes_on_several_machines_have_no_common_counter(powercap):
    class Two(Ranks):
        def collect(self, value):
            return [value, ("another machine", value[1])]

    Zone(powercap / "intel-rapl:0")
    assert energy.counters(CPU, Two()) == []
    assert len(energy.counters(CPU, Ranks())) == 1


def test_training_records_its_energy(powercap, prepared, bank, tmp_path):
    Zone(powercap / "intel-rapl:0")
    folder = tmp_path / "run"
    tak("train", prepared.root, "--recipe", "demo", "--bank", bank, "-o", folder, *changed())
    record = json.loads((folder / "run.json").read_text())
    assert record["sessions"][0]["energy_kwh"] == 0.0


@pytest.mark.gpu
def test_a_gpu_counts_its_energy():
    device = torch.device("cuda:0")
    with energy.metered(energy.counters(device, Ranks())) as used:
        numbers = torch.rand(4096, 4096, device=device)
        for _ in range(300):
            numbers = numbers @ numbers / 4096
        torch.cuda.synchronize()
        time.sleep(0.2)
        assert 0 < used() < 0.001


def test_a_counter_that_fails_at_the_start_is_no_fault_of_the_training():
    def unreadable():
        raise OSError("gone")

    with energy.metered([energy.Counter(unreadable)]) as used:
        assert used() is None
