"""Fine-tuning: what a run may take over from a trained model, and what it must not."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from autosing.signal.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn


def same_contract(base: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> None:
    """Checks that the data means what the base model was trained for.

    Args:
        base: the contract of the trained model.
        wanted: that of the run, as it would be stored.
        free: names that may differ.

    Raises:
        CheckpointError: names the first field that differs, with both values.
    """
    # What was read from JSON has lists where the run's own has tuples.
    _compare(_plain(base), _plain(wanted), free, "")


def take_weights(model: "nn.Module", base: "nn.Module", growing: Collection[str] = ()) -> None:
    """Copies the weights of a trained model into one of the same class and fields.

    Args:
        model: what is to be trained.
        base: where the weights come from.
        growing: names of tables that may have other numbers of rows; they are left alone.

    Raises:
        CheckpointError: the two differ in class or in a weight's shape.
    """
    if type(model) is not type(base):
        raise CheckpointError(
            f"begin_from: the model is a {type(base).__name__}, and this recipe trains a {type(model).__name__}"
        )
    own, given = model.state_dict(), base.state_dict()
    for name in sorted(own.keys() | given.keys()):
        shapes = [tuple(state[name].shape) if name in state else None for state in (given, own)]
        if shapes[0] != shapes[1] and name not in growing:
            raise CheckpointError(
                f"begin_from: {name} is {shapes[0]} in the model and {shapes[1]} here; give the settings that the "
                "model was trained with (its run.json tells them)"
            )
    model.load_state_dict({name: own[name] if name in growing else given[name] for name in own})


def _compare(base: Any, wanted: Any, free: Collection[str], field: str) -> None:
    if isinstance(base, dict) and isinstance(wanted, dict):
        for name in sorted(base.keys() | wanted.keys()):
            if name not in free:
                _compare(base.get(name), wanted.get(name), free, f"{field}.{name}" if field else name)
    elif base != wanted:
        raise CheckpointError(
            f"begin_from: the model was trained with {field} = {base!r}, but it is {wanted!r} here; compute the data "
            "with the model's settings and codebooks"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
