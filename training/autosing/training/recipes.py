"""Recipes: named runs as functions, and their settings.

A recipe of one's own is a function in any importable module that returns a `RunConfig`, named `MODULE:FUNCTION`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from autosing.signal.errors import UsageError
from autosing.training.task import RunConfig

if TYPE_CHECKING:
    from autosing.training.tasks.acoustic import AcousticConfig
    from autosing.training.tasks.aligner import AlignerConfig
    from autosing.training.tasks.codec import CodecConfig
    from autosing.training.tasks.content import ContentConfig
    from autosing.training.tasks.multires import MultiResolutionConfig
    from autosing.training.tasks.semantic import SemanticConfig
    from autosing.training.tasks.singer import SingerConfig
    from autosing.training.tasks.sm2a import Sm2aConfig
    from autosing.training.tasks.svc import SvcConfig
    from autosing.training.tasks.svc_student import StudentConfig
    from autosing.training.tasks.t2s import T2sConfig
    from autosing.training.tasks.vocoder import VocoderConfig
    from autosing.training.tasks.wave_content import WaveContentConfig

Config = TypeVar("Config", bound=RunConfig)


def acoustic(**settings: Any) -> "AcousticConfig":
    """Units with F0, energy and singer to mels, all frames at once."""
    from autosing.training.tasks.acoustic import AcousticConfig

    return AcousticConfig(**settings)


def soft_vc(**settings: Any) -> "AcousticConfig":
    """Units alone to mels with Soft-VC's LSTM decoder, widths and learning rate."""
    original = {"size": "base", "decoder": "lstm", "lr": 4e-4, "schedule": "constant", "weight_decay": 1e-5}
    return acoustic(**{**original, "use_f0": False, "use_energy": False, "use_singer": False, **settings})


def aligner(**settings: Any) -> "AlignerConfig":
    """Lines and their lyrics to a net that hears where they are: recordings whose lyrics have line stamps."""
    from autosing.training.tasks.aligner import AlignerConfig

    usual = {"lr": 2e-3, "seconds_per_batch": 140.0, "clip_norm": 2.0, "steps": 20_000}
    return AlignerConfig(**{**usual, **settings})


def aligner_synthetic(**settings: Any) -> "AlignerConfig":
    """The aligner that the package ships, from synthetic recordings (synthetic:N+studio) whose times are known."""
    usual = {"timed_phones": True, "timing_weight": 5.0, "timing_weight_kept": 0.25, "timing_fade_steps": 600}
    usual |= {"strength": 1.0, "trim_s": 0.6}
    usual |= {"lr": 3e-3, "steps": 1500, "warmup_steps": 50, "seconds_per_batch": 100.0}
    return aligner(**{**usual, **settings})


def codec(**settings: Any) -> "CodecConfig":
    """Sound to codes of several rates, and back to sound."""
    from autosing.training.tasks.codec import CodecConfig

    usual = {"crop_s": 2.0, "seconds_per_batch": 32.0, "steps": 200_000, "lr": 5e-4, "weight_decay": 1e-5}
    return CodecConfig(**{**usual, "clip_norm": 10.0, "ema_decay": 0.999, "validate_every": 2000, **settings})


def multires(**settings: Any) -> "MultiResolutionConfig":
    """Features of a speech encoder to tokens of several resolutions, by resynthesis, after SingOMD."""
    from autosing.training.tasks.multires import MultiResolutionConfig

    usual = {"crop_s": 1.6, "seconds_per_batch": 24.0, "steps": 100_000, "lr": 5e-4, "weight_decay": 1e-5}
    return MultiResolutionConfig(**{**usual, "clip_norm": 10.0, "validate_every": 2000, **settings})


def soft_units(**settings: Any) -> "ContentConfig":
    """Features of a speech encoder to soft units among discrete ones, as Soft-VC's content encoder."""
    from autosing.training.tasks.content import ContentConfig

    usual = {"crop_s": 4.0, "seconds_per_batch": 160.0, "steps": 25_000, "lr": 5e-4}
    return ContentConfig(**{**usual, **settings})


def pitdyn(**settings: Any) -> "ContentConfig":
    """Features of a speech encoder to bins of pitch and dynamics, as hubert-pitdyn set out to do."""
    usual = {"n_units": 0, "pitch_bins": 110, "dynamic_bins": 32, "masked_share": 0.0}
    return soft_units(**{**usual, **settings})


def soft_hubert(**settings: Any) -> "WaveContentConfig":
    """Sound to soft units by a HuBERT or its kin that is fine-tuned, as Soft-VC's; to pitch and dynamics where set."""
    from autosing.training.tasks.wave_content import WaveContentConfig

    usual = {"crop_s": 8.0, "seconds_per_batch": 160.0, "steps": 25_000, "lr": 2e-5, "schedule": "constant"}
    return WaveContentConfig(**{**usual, "clip_norm": 10.0, "validate_every": 1000, **settings})


def semantic(**settings: Any) -> "SemanticConfig":
    """Features of a speech encoder to one token of 40 ms by what they say of features and text, after WhisperSpeech."""
    from autosing.training.tasks.semantic import SemanticConfig

    usual = {"seconds_per_batch": 160.0, "steps": 25_000, "warmup_steps": 500, "clip_norm": 2.0}
    return SemanticConfig(**{**usual, **settings})


def singer(**settings: Any) -> "SingerConfig":
    """Mels, or features of a speech encoder, to a vector by which voices are told apart, also those of strangers."""
    from autosing.training.tasks.singer import SingerConfig

    usual = {"crop_s": 8.0, "seconds_per_batch": 320.0, "steps": 50_000, "weight_decay": 1e-4}
    return SingerConfig(**{**usual, **settings})


def sm2a(**settings: Any) -> "Sm2aConfig":
    """Semantic tokens, and as far as wanted backing and singer, to the codes of a codec's levels, column by column."""
    from autosing.training.tasks.sm2a import Sm2aConfig

    usual = {"seconds_per_batch": 480.0, "steps": 50_000, "lr": 2e-3, "warmup_steps": 1000, "weight_decay": 0.1}
    return Sm2aConfig(**{**usual, "optimiser": "muon", "validate_every": 1000, **settings})


def svc(**settings: Any) -> "SvcConfig":
    """Content, pitch, energy and a singer to mels, by a conformer and a diffusion: voice conversion's teacher."""
    from autosing.training.tasks.svc import SvcConfig

    usual = {"crop_s": 5.12, "seconds_per_batch": 160.0, "steps": 200_000, "lr": 4e-4, "ema_decay": 0.999}
    return SvcConfig(**{**usual, "validate_every": 2000, **settings})


def svc_student(**settings: Any) -> "StudentConfig":
    """A conversion model's teacher (--from) to a student that converts in one to four calls."""
    from autosing.training.tasks.svc_student import StudentConfig

    usual = {"crop_s": 5.12, "seconds_per_batch": 160.0, "steps": 50_000, "lr": 1e-4, "ema_decay": 0.999}
    return StudentConfig(**{**usual, "validate_every": 2000, **settings})


def t2s(**settings: Any) -> "T2sConfig":
    """Lyrics, and as far as wanted backing, singer and pace, to tokens that are sung, one after the other."""
    from autosing.training.tasks.t2s import T2sConfig

    usual = {"seconds_per_batch": 480.0, "steps": 50_000, "lr": 2e-3, "warmup_steps": 1000, "weight_decay": 0.1}
    return T2sConfig(**{**usual, "optimiser": "muon", "validate_every": 1000, **settings})


def vocoder(**settings: Any) -> "VocoderConfig":
    """Mels and F0 to sound, by spectra of pulses and noise; judged as HiFi-GAN's."""
    from autosing.training.tasks.vocoder import VocoderConfig

    usual = {"crop_s": 1.0, "seconds_per_batch": 16.0, "steps": 200_000, "lr": 5e-4, "weight_decay": 1e-5}
    return VocoderConfig(**{**usual, "clip_norm": 10.0, "ema_decay": 0.999, "validate_every": 2000, **settings})


def unit_vocoder(**settings: Any) -> "VocoderConfig":
    """Units and F0 to sound, by HiFi-GAN with an excitation; SingOMD's unit vocoder with one stream or several."""
    return vocoder(**{"generator": "hifigan", "streams": ("units",), **settings})


RECIPES: Mapping[str, Callable[..., RunConfig]] = {
    "acoustic": acoustic,
    "aligner": aligner,
    "aligner_synthetic": aligner_synthetic,
    "codec": codec,
    "multires": multires,
    "pitdyn": pitdyn,
    "soft_hubert": soft_hubert,
    "semantic": semantic,
    "singer": singer,
    "sm2a": sm2a,
    "soft_units": soft_units,
    "soft_vc": soft_vc,
    "svc": svc,
    "svc_student": svc_student,
    "t2s": t2s,
    "unit_vocoder": unit_vocoder,
    "vocoder": vocoder,
}


@dataclass(frozen=True)
class RecipeInfo:
    """What `autosing train --list` says of a recipe: its columns, and type, value and meaning of its settings."""

    name: str
    summary: str
    columns: tuple[str, ...]
    settings: Mapping[str, tuple[str, Any, str]]


def describe_recipes(names: Sequence[str] = ()) -> list[RecipeInfo]:
    """Returns what is told of some recipes, or of all that have a name.

    Raises:
        UsageError: there is no such recipe.
    """
    return [_describe(name, default_config(name)) for name in names or sorted(RECIPES)]


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """Returns a configuration with fields changed as in `["steps=400", "use_f0=false"]`.

    Raises:
        UsageError: a field that doesn't exist, or a value that is not of its type.
    """
    return replace(config, **dict(_setting(config, setting) for setting in settings))


def default_config(name: str) -> RunConfig:
    """Returns the settings of a recipe, given by its name or by module and function.

    Raises:
        UsageError: there is none, or it gives something else.
    """
    config = _find(name)()
    if not isinstance(config, RunConfig):
        raise UsageError(f"the recipe {name} gives a {type(config).__name__}; it must return a RunConfig")
    return config


def _find(name: str) -> Callable[..., Any]:
    if name in RECIPES:
        return RECIPES[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(
            f"there is no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}; one of your own is MODULE:FUNCTION"
        )
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the recipe {name} cannot be imported: {error}") from error
    if not callable(found):
        raise UsageError(f"the recipe {name} is no function")
    return found  # type: ignore[no-any-return]


def _describe(name: str, config: RunConfig) -> RecipeInfo:
    types, meanings = get_type_hints(type(config)), _meanings(type(config))
    settings = {
        field.name: (_type_name(types[field.name]), getattr(config, field.name), meanings.get(field.name, ""))
        for field in fields(config)
    }
    return RecipeInfo(name, (_find(name).__doc__ or "").strip(), config.columns, settings)


def _meanings(config: type[RunConfig]) -> dict[str, str]:
    """Returns what the docstrings say of settings, which stand there as `name: meaning`."""
    found: dict[str, str] = {}
    for line in (line for kind in reversed(config.__mro__) for line in (kind.__doc__ or "").splitlines()):
        name, colon, meaning = line.strip().partition(": ")
        if colon and name.isidentifier():
            found[name] = meaning
    return found


def _setting(config: RunConfig, setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    known = [field.name for field in fields(config)]
    if not equals:
        raise UsageError(f"the setting {setting!r} has no value; write field=value, for example steps=400")
    if name not in known:
        raise UsageError(f"there is no setting {name!r}; there are: {', '.join(known)}")
    kind = get_type_hints(type(config))[name]
    try:
        return name, _parsed(kind, text)
    except ValueError as error:
        raise UsageError(f"{name}={text}: {text!r} is not {_type_name(kind)}") from error


def _parsed(kind: Any, text: str) -> Any:
    choices = _choices(kind)
    if choices:
        if text not in choices:
            raise ValueError(text)
        return choices[text]
    if get_origin(kind) is tuple:
        return tuple(_parsed(get_args(kind)[0], part.strip()) for part in text.split(",") if part.strip())
    if kind not in (int, float, str):
        raise ValueError(text)
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _choices(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"true": True, "false": False}
    return {choice: choice for choice in get_args(kind)} if get_origin(kind) is Literal else {}


def _type_name(kind: Any) -> str:
    choices = _choices(kind)
    if choices:
        return f"one of {', '.join(choices)}"
    if get_origin(kind) is tuple:
        return f"{_type_name(get_args(kind)[0])}, or several with commas between them"
    names = {int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "something that --set can give")
