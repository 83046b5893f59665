"""What several tests share: where real recordings lie, when they are there, and tiny models."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from said import Autosing, Said

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# Of tests that are slow or start Ray, on a machine that has other work.
PATIENCE_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests that take long more time than the others have."""
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("ray"):
            # Behind one of the test's own, which then counts.
            item.add_marker(pytest.mark.timeout(PATIENCE_S))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real recordings beside the checkout; skips the test where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings are not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def autosing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Autosing:
    """Runs a command in an empty folder."""
    from autosing.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0 if code is None else 1, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def save_codec() -> Callable[[Path, int], str]:
    """Writes a tiny codec of three levels, whose codebooks lie in what it hears; returns its path."""

    def save(path: Path, seed: int) -> str:
        import torch

        from autosing.models.codec import Codec, sized_codec
        from autosing.models.directory import save_model
        from autosing.signal.mel import MelSpec

        torch.manual_seed(seed)
        model = Codec(sized_codec("tiny", MelSpec(), 2, (4, 2, 1), 16, 4, True)).train()
        frames, mels = torch.tensor([96, 96]), torch.randn(2, 96, 100) * 2 - 4
        with torch.no_grad():
            for _ in range(3):
                model.quantised(model.latents(mels, frames), frames)
        codes = {"rates": [str(rate) for rate in model.fields.rates], "sizes": [16] * 3}
        save_model(path, model.eval(), {"mel": {"spec": dict(model.fields.mel)}, "codes": codes})
        return str(path)

    return save


@pytest.fixture(scope="session")
def save_content() -> Callable[..., str]:
    """Writes a tiny content encoder for features of a width; returns its path."""

    def save(path: Path, feature_dim: int, seed: int, contract: Mapping[str, Any] | None = None) -> str:
        import torch

        from autosing.models.content import ContentEncoder, ContentFields
        from autosing.models.directory import save_model

        torch.manual_seed(seed)
        fields = ContentFields("50", feature_dim, 1, 7, 16, 0.1, 40, 50.0, 8, 16, 2, 0.0)
        save_model(path, ContentEncoder(fields).eval(), contract or {})
        return str(path)

    return save


@pytest.fixture(scope="session")
def save_semantic() -> Callable[..., str]:
    """Writes a tiny semantic bottleneck for features of a width, whose codes are 16 of 16; returns its path."""

    def save(path: Path, feature_dim: int, seed: int, contract: Mapping[str, Any] | None = None) -> str:
        import numpy as np
        import torch

        from autosing.models.directory import save_model
        from autosing.models.semantic import Semantic, SemanticFields

        torch.manual_seed(seed)
        model = Semantic(SemanticFields("50", feature_dim, "25", 16, 8, 0.1, ("", "A", "N"), 16, 2, 2))
        model.begin_with([np.random.default_rng(seed).standard_normal((600, feature_dim))])
        tokens = {"rate": "25", "size": 16}
        save_model(path, model.eval(), {"tokens": tokens, **(contract or {})})
        return str(path)

    return save


@pytest.fixture(scope="session")
def save_singer() -> Callable[..., str]:
    """Writes a tiny singer encoder that learned from an instance with some settings; returns its path."""

    def save(path: Path, seed: int, settings: Mapping[str, Any] | None = None, instance: str = "mel") -> str:
        import torch

        from autosing.models.directory import save_model
        from autosing.models.singer import SingerEncoder, SingerFields
        from autosing.signal.mel import MelSpec

        spec = MelSpec().as_mapping()
        told = {"spec": spec, "audio": "voice"} if settings is None else settings
        rate, width = ("375/4", 100) if instance == "mel" else ("50", 39)
        kind = "mel" if instance == "mel" else "ssl"
        torch.manual_seed(seed)
        model = SingerEncoder(SingerFields(kind, rate, width, 16, 2, 8, 0.0)).eval()
        contract = {"instances": {instance: dict(told)}, "artefacts": {}, "columns": {kind: f"{instance}.{kind}"}}
        save_model(path, model, contract)
        return str(path)

    return save
