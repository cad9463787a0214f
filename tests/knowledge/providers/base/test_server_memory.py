"""The file of probe results."""

import json

from knowledge.providers.base.server_memory import ServerMemory


def test_a_result_is_found_by_server_and_model_and_the_later_one_counts(tmp_path):
    memory = ServerMemory(tmp_path / "servers.json")
    assert memory.get("http://a/v1", "m") is None
    memory.put("http://a/v1", "m", "plain")
    memory.put("http://a/v1", "other", "text")
    memory.put("http://a/v1", "m", "json_schema")
    assert memory.get("http://a/v1", "m") == "json_schema"
    assert memory.get("http://a/v1", "other") == "text"
    assert memory.get("http://b/v1", "m") is None
    first, second = json.loads((tmp_path / "servers.json").read_text())["servers"]
    assert (first["model"], second["model"]) == ("other", "m")
    assert second["date"].endswith("+00:00")


def test_a_damaged_file_is_replaced(tmp_path):
    memory = ServerMemory(tmp_path / "servers.json")
    for content in ("{", '{"servers": 5}', "[" * 100_000):
        memory.path.write_text(content)
        assert memory.get("http://a/v1", "m") is None
        memory.put("http://a/v1", "m", "text")
        assert memory.get("http://a/v1", "m") == "text"


def test_without_a_path_nothing_is_remembered():
    memory = ServerMemory(None)
    memory.put("http://a/v1", "m", "text")
    assert memory.get("http://a/v1", "m") is None
