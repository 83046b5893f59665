"""Vector quantisation in fewer dimensions, with a codebook that follows what it is given."""

import torch
from torch import Tensor, nn

# Of the codebook's running means; a code that no frame of a batch has for long is put on a frame.
DECAY, DEAD_BELOW = 0.95, 0.5


class Quantiser(nn.Module):
    """Vectors (B, N, D) to the nearest of a codebook's, in fewer dimensions; the codebook follows means of frames."""

    def __init__(self, dim: int, code_dim: int, n_codes: int, cosine: bool = False) -> None:
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
            threshold_ema_dead_code=DEAD_BELOW,
            use_cosine_sim=cosine,
        )

    @torch.no_grad()
    def begin_as_first_dimensions(self) -> None:
        """Makes both projections pass on the first dimensions as they are, where those tell the most."""
        for linear in (self.inwards, self.outwards):
            linear.weight.copy_(torch.eye(*linear.weight.shape))
            linear.bias.zero_()

    def forward(self, x_BND: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what is near (B, N, D), its codes (B, N), and how far codes are from vectors, on average."""
        near_BNC, codes_BN, off = self.codebook(self.inwards(x_BND), mask=mask_BN)
        return self.outwards(near_BNC), codes_BN, off.sum()

    def of_codes(self, codes_BN: Tensor) -> Tensor:
        """Returns the vectors (B, N, D) of codes (B, N)."""
        vectors_BND: Tensor = self.outwards(self.codebook.get_output_from_indices(codes_BN))
        return vectors_BND
