import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import FakeHub


def run(program: str, hub: FakeHub, home: Path, *arguments: object) -> str:
    """What a Python program prints in a process of its own whose Hub is `hub`."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    finished = subprocess.run(command, env=hub.environment(home), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_a_pushed_model_comes_back_by_its_repository_id(tmp_path):
    program = """
import sys, torch
from transformers import AutoModelForTokenClassification, BertConfig, BertForTokenClassification
config = BertConfig(
    vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=3
)
model = BertForTokenClassification(config)
model.save_pretrained(sys.argv[1])
print(model.push_to_hub("me/tiny-bert", commit_message="A tiny model").oid)
pushed, pulled = model.state_dict(), AutoModelForTokenClassification.from_pretrained("me/tiny-bert").state_dict()
assert list(pushed) == list(pulled)
assert all(torch.equal(pushed[name], pulled[name]) for name in pushed)
"""
    with FakeHub() as hub:
        commit = run(program, hub, tmp_path / "home", tmp_path / "model").strip()

    assert hub.head("me/tiny-bert") == commit
    for file in ("config.json", "model.safetensors"):
        assert hub.files("me/tiny-bert")[file] == (tmp_path / "model" / file).read_bytes()
    # It was downloaded, not found in a cache.
    assert ("GET", f"/me/tiny-bert/resolve/{commit}/model.safetensors", 200) in hub.requests
    assert hub.unknown == []


def test_folders_are_uploaded_listed_downloaded_and_deleted_from(tmp_path):
    program = """
import sys
from pathlib import Path
from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
folder, api = Path(sys.argv[1]), HfApi()
repo_id = api.create_repo("run", exist_ok=True).repo_id
assert repo_id == api.create_repo("run", exist_ok=True).repo_id == "me/run"
assert api.create_repo("team/run").repo_id == "team/run"
first = api.upload_folder(repo_id=repo_id, folder_path=folder, ignore_patterns=["checkpoint-*"]).oid
assert set(api.list_repo_files(repo_id)) == {".gitattributes", "README.md", "code/modeling.py", "empty.txt"}
assert "code/modeling.py" in {file.rfilename for file in api.model_info(repo_id, revision=first).siblings}
assert ModelCard.load(repo_id).data.tags == ["hf_polyglot"]
ModelCard.load(repo_id).push_to_hub(repo_id)
api.delete_file("code/modeling.py", repo_id)
assert not api.file_exists(repo_id, "code/modeling.py") and api.file_exists(repo_id, "README.md")
assert Path(hf_hub_download(repo_id, "code/modeling.py", revision=first)).read_text() == "x = 1\\n"
assert not (Path(snapshot_download(repo_id)) / "code").exists()
assert (Path(snapshot_download(repo_id, revision=first)) / "empty.txt").read_bytes() == b""
"""
    folder = tmp_path / "folder"
    for name, content in {
        "README.md": "---\ntags: [hf_polyglot]\n---\n# Card\n",
        "code/modeling.py": "x = 1\n",
        "empty.txt": "",
        "checkpoint-1/optimizer.pt": "left at home",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    with FakeHub() as hub:
        run(program, hub, tmp_path / "home", folder)

        assert hub.files("me/run")["empty.txt"] == b""
        assert hub.unknown == []


def test_what_does_not_exist_raises_the_errors_of_the_hub(tmp_path):
    program = """
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
HfApi().create_repo("me/empty")
for error, arguments in (
    (RepositoryNotFoundError, dict(repo_id="me/nowhere", filename="config.json")),
    (RevisionNotFoundError, dict(repo_id="me/empty", filename="config.json", revision="v1")),
    (EntryNotFoundError, dict(repo_id="me/empty", filename="config.json")),
):
    try:
        hf_hub_download(**arguments)
    except error:
        print(error.__name__)
"""
    with FakeHub() as hub:
        printed = run(program, hub, tmp_path)

    assert printed.split() == ["RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"]


def test_the_server_is_gone_when_its_context_closes():
    with FakeHub() as hub:
        thread = hub.thread
        assert thread.is_alive()

    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", hub.server.server_port)):
        pass
