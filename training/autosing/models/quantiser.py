"""Vector quantisation in fewer dimensions, with a codebook that follows what it is given."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of the codebook's running means; a code that no frame of a batch has for long is put on a frame.
DECAY, DEAD_BELOW = 0.95, 0.5


class Quantiser(nn.Module):
    """Vectors (B, N, D) to the nearest of a codebook's, in fewer dimensions; the codebook follows means of frames.

    Args:
        dim: D.
        code_dim: width of the codes.
        n_codes: size of the codebook.
        cosine: codes are directions: vectors are brought to length 1 before they are compared.
        dead_below: a code that has fewer frames of a batch, on average, is dead.
    """

    def __init__(
        self, dim: int, code_dim: int, n_codes: int, cosine: bool = False, dead_below: float = DEAD_BELOW
    ) -> None:
        super().__init__()
        # It loads torch's compiler, which makes a folder for its files.
        from vector_quantize_pytorch import VectorQuantize

        # The library's own projections go wrong beside a mask (1.32: its commitment loss compares both widths).
        self.inwards = nn.Linear(dim, code_dim)
        self.outwards = nn.Linear(code_dim, dim)
        self.codebook = VectorQuantize(
            dim=code_dim,
            codebook_size=n_codes,
            decay=DECAY,
            kmeans_init=True,
            threshold_ema_dead_code=dead_below,
            use_cosine_sim=cosine,
        )

    @torch.no_grad()
    def begin_as_first_dimensions(self) -> None:
        """Makes both projections pass on the first dimensions as they are, where those tell the most."""
        for linear in (self.inwards, self.outwards):
            linear.weight.copy_(torch.eye(*linear.weight.shape))
            linear.bias.zero_()

    @torch.no_grad()
    def begin_on(self, x_ND: Tensor) -> None:
        """Makes the codebook the centres of clusters of vectors, rather than of those of the first batch alone.

        The way out takes codes of length 1 to the length that the vectors had before.
        """
        inside_1NC = self.inwards(x_ND[None])
        if self.codebook.use_cosine_sim:
            self.outwards.weight.mul_(inside_1NC.norm(dim=-1).mean())
        was_training = self.training
        self.train()
        self.codebook(self._inside(x_ND[None]), mask=torch.ones(1, len(x_ND), dtype=torch.bool))
        self.train(was_training)

    def forward(self, x_BND: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what is near (B, N, D), its codes (B, N), and how far codes are from vectors, on average."""
        near_BNC, codes_BN, off = self.codebook(self._inside(x_BND), mask=mask_BN)
        return self.outwards(near_BNC), codes_BN, off.sum()

    def of_codes(self, codes_BN: Tensor) -> Tensor:
        """Returns the vectors (B, N, D) of codes (B, N)."""
        vectors_BND: Tensor = self.outwards(self.codebook.get_output_from_indices(codes_BN))
        return vectors_BND

    def _inside(self, x_BND: Tensor) -> Tensor:
        """Returns vectors as the codebook sees them; of length 1, since its loss would compare those of any length."""
        inside_BNC: Tensor = self.inwards(x_BND)
        return functional.normalize(inside_BNC.float(), dim=-1) if self.codebook.use_cosine_sim else inside_BNC
