from attention_unet.files.prediction_record import read_record
from attention_unet.inference import record
from attention_unet.inference.record import add_files, hash_files


def test_files_that_two_processes_add_are_both_recorded(tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_text(path.name)

    def hash_slowly(folder, files):
        monkeypatch.undo()
        add_files(tmp_path, "a", [other])  # by another process, meanwhile
        return hash_files(folder, files)

    monkeypatch.setattr(record, "hash_files", hash_slowly)
    add_files(tmp_path, "a", [one])
    assert set(read_record(tmp_path)["cases"]["a"]["files"]) == {"one", "other"}
