"""Fine-tuning: what a run takes over from a trained model."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from autosing.models.directory import LoadedModel, differing_shapes
from autosing.signal.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn


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
    for name, found, wanted in differing_shapes(given, own):
        if name not in growing:
            raise CheckpointError(
                f"begin_from: {name} is {found} in the model and {wanted} here; give the settings that the model was "
                "trained with (its run.json tells them)"
            )
    model.load_state_dict({name: own[name] if name in growing else given[name] for name in own})


def take_singers(table: "nn.Module | None", base: LoadedModel, rows: Mapping[str, int]) -> None:
    """Fills a table of singers from a trained model's: each keeps its row, new ones begin as nobody in particular.

    Args:
        table: an embedding whose row 0 is nobody in particular; anything else is left alone.
        base: a model whose attribute `singers` is such a table, and whose contract names them.
        rows: of the singers in `table`, by name.
    """
    import torch
    from torch import nn

    trained = getattr(base.model, "singers", None)
    if not isinstance(table, nn.Embedding) or not isinstance(trained, nn.Embedding):
        return
    known = {name: 1 + n for n, name in enumerate(base.contract.get("singers", ()))}
    with torch.no_grad():
        table.weight[:] = trained.weight[0]
        for name in rows.keys() & known.keys():
            table.weight[rows[name]] = trained.weight[known[name]]
