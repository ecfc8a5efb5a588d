"""Weights as folders, from the cache, or from the hub; one line for every way to miss them."""

import errno
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from pipelines import tiny_sd15

from fpinv.errors import UserError
from fpinv.models import hub
from fpinv.models.hub import commit_of, find_weights, short_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "someone/a-model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd15(tmp_path_factory.mktemp("pipeline") / "sd15")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_cache(cache, folder, revision="main"):
    """Lay a folder out as the hub's client does, without the listing that newer clients keep."""
    repository = cache / f"models--{HUB_ID.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def refused(match, *arguments, **options):
    """Return the message of the refusal, a single line."""
    with pytest.raises(UserError, match=match) as caught:
        find_weights(*map(str, arguments), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("revision", [None, COMMIT, "v1"])
def test_cached_weights_need_no_network_and_have_a_commit(cache, folder, capfd, revision):
    snapshot = put_in_cache(cache, folder, "v1" if revision == "v1" else "main")
    assert find_weights(HUB_ID, revision) == snapshot
    assert commit_of(find_weights(HUB_ID, revision)) == COMMIT
    assert commit_of(find_weights(str(snapshot))) == COMMIT
    assert capfd.readouterr() == ("", "")


def test_a_folder_outside_the_cache_has_no_commit(folder):
    assert commit_of(find_weights(str(folder))) is None


def test_a_folder_of_the_cache_is_named_after_its_repository(cache, folder):
    assert short_name(str(put_in_cache(cache, folder))) == short_name(HUB_ID) == "a-model"
    assert short_name(str(folder)) == "sd15"
    assert short_name("pkg://fpinv.models.scenes") == "scenes"


def test_a_package_names_its_own_folder(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "bundle" / "weights")
    monkeypatch.syspath_prepend(tmp_path)
    # A folder that came from elsewhere may have any code in its __init__.py.
    (tmp_path / "bundle" / "__init__.py").write_text("raise SystemExit")
    assert find_weights("pkg://bundle.weights") == (tmp_path / "bundle" / "weights").resolve()


def test_weights_neither_cached_nor_reachable_are_refused(cache):
    message = refused("neither in the local cache nor could the hub be reached", HUB_ID)
    assert HUB_ID in message
    assert "model.path=" in message


def test_an_interrupted_download_is_not_taken_for_a_model(cache, folder):
    snapshot = put_in_cache(cache, folder)
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused("neither in the local cache nor", HUB_ID)


def test_a_model_that_is_not_cached_is_downloaded(cache, folder, monkeypatch):
    calls = []

    def download(path, local_files_only=False, **options):
        calls.append(local_files_only)
        if local_files_only:
            raise FileNotFoundError(path)
        return str(put_in_cache(cache, folder))

    monkeypatch.setattr(hub, "model_info", lambda *a, **k: None)
    monkeypatch.setattr(hub.DiffusionPipeline, "download", download)
    assert commit_of(find_weights(HUB_ID)) == COMMIT
    assert calls == [True, False]


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (GatedRepoError, "gated: accept its terms.*hf auth login"),
        (RepositoryNotFoundError, "neither a folder nor on the hub"),
        (RevisionNotFoundError, "no revision 'v9': check model.revision"),
        (ConnectionError, r"nor could the hub be reached \(no route\)"),
        (TimeoutError, r"nor could the hub be reached \(no route\)"),
    ],
)
def test_the_hubs_refusal_says_what_to_do(cache, monkeypatch, error, match):
    def refuse(*arguments, **options):
        failure = error.__new__(error)
        Exception.__init__(failure, "no route\nand more")
        raise failure

    monkeypatch.setattr(hub, "model_info", refuse)
    refused(match, HUB_ID, revision="v9")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (ValueError("no such modeling files for the variant"), "no weights of model.variant=fp16"),
        (OSError(errno.ENOSPC, "No space left on device"), "make room, or set HF_HOME"),
        (ConnectionError("no route"), "nor could the hub be reached"),
    ],
)
def test_what_fails_in_a_download_is_told_apart(cache, monkeypatch, error, match):
    def download(path, local_files_only=False, **options):
        raise FileNotFoundError(path) if local_files_only else error

    monkeypatch.setattr(hub, "model_info", lambda *a, **k: None)
    monkeypatch.setattr(hub.DiffusionPipeline, "download", download)
    refused(match, HUB_ID, variant="fp16")


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "a/b/c"])
def test_an_absent_folder_is_named(cache, path):
    assert path in refused("no such folder", path)


@pytest.mark.parametrize("package", ["fpinv.nothing", "nothing.at.all"])
def test_an_absent_package_is_named(package):
    refused("no such package", f"pkg://{package}")


def test_a_folder_in_another_format_is_refused(folder, tmp_path):
    refused("lacks model_index.json", tmp_path)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.rmtree(copy / "vae")
    refused("lacks the weights of its vae", copy)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_index_is_refused(folder, tmp_path, text):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "model_index.json").write_text(text)
    refused("model_index.json is not what it should be", copy)


def test_a_variant_that_no_part_has_is_refused_and_so_are_plain_weights_that_are_absent(
    folder, tmp_path
):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    refused("lacks weights of model.variant=fp61", copy, variant="fp61")
    (file,) = (copy / "vae").glob("*.safetensors")
    file.rename(file.with_suffix(".fp16.safetensors"))
    assert find_weights(str(copy), variant="fp16") == copy
    refused("lacks the weights of its vae", copy)
