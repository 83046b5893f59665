"""What makes vectors of one singer alike and those of two different: directions of known singers, and prototypes."""

import torch
from torch import Tensor
from torch.nn import functional


def margin_errors(cosine_BS: Tensor, singers_B: Tensor, margin: Tensor, scale: float) -> Tensor:
    """Returns the cross-entropies of telling who sings, summed: additive margin softmax (Wang et al., 2018, eq. 7).

    Args:
        cosine_BS: of vectors with each singer's direction.
        singers_B: who it is; samples below 0 are of nobody known and count nothing.
        margin: by how much a vector must be nearer to its singer than to any other, in cosine.
        scale: of the cosines.
    """
    known_B, target_B = singers_B >= 0, singers_B.clamp(min=0)
    asked_BS = cosine_BS.float() - margin * functional.one_hot(target_B, cosine_BS.shape[1])
    return (functional.cross_entropy(scale * asked_BS, target_B, reduction="none") * known_B).sum()


def prototype_errors(voices_NE: Tensor, singers_N: Tensor, songs_N: Tensor, scale: float) -> Tensor:
    """Returns the cross-entropies of finding one's own singer's prototype among those of a batch, summed.

    The softmax of GE2E (Wan et al., 2018, eq. 6): a prototype is the direction of a singer's mean vector, of which the
    asking vector takes no part in its own. Nor do others of its song, where the batch has another song of the singer:
    what two stretches of one recording have in common is not the voice alone.

    Args:
        voices_NE: of length 1.
        singers_N: who each is; those below 0 neither ask nor are prototypes, and those without a partner do not ask.
        songs_N: which song each is from.
        scale: of the cosines.
    """
    voices_NE, known_N = voices_NE.float(), singers_N >= 0
    same_NN = (singers_N[:, None] == singers_N) & known_N
    partners_NN = _partners(same_NN, songs_N)
    own_NE = functional.normalize(partners_NN @ voices_NE, dim=-1)
    prototypes_NE = functional.normalize(same_NN.float() @ voices_NE, dim=-1)
    # A singer's prototype stands at the first of its vectors.
    is_first_N = same_NN.float().argmax(1) == torch.arange(len(singers_N), device=singers_N.device)
    is_other_NN = (is_first_N & known_N) & ~same_NN
    others_NN = (scale * (voices_NE @ prototypes_NE.T)).masked_fill(~is_other_NN, -torch.inf)
    right_N = scale * (voices_NE * own_NE).sum(-1)
    errors_N = torch.cat([right_N[:, None], others_NN], dim=1).logsumexp(1) - right_N
    return (errors_N * partners_NN.any(1)).sum()


def _partners(same_NN: Tensor, songs_N: Tensor) -> Tensor:
    """Returns which vectors make the own prototype of each, (N, N): of the singer's other songs, else of its others."""
    elsewhere_NN = same_NN & (songs_N[:, None] != songs_N)
    itself_NN = torch.eye(len(songs_N), dtype=torch.bool, device=songs_N.device)
    return torch.where(elsewhere_NN.any(1, keepdim=True), elsewhere_NN, same_NN & ~itself_NN).float()
