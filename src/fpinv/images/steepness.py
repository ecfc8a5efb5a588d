"""The steepness of pictures and latents, which tells plain areas from all others."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad


def steepness(x: Tensor) -> Tensor:
    r"""Return the largest difference of each cell from a neighbour, shape (B, H, W).

    .. math:: s_p = \max_{c,\, q} |x_{cp} - x_{cq}|

    over the channels c and the four neighbours q.

    Arguments:
        x: Images or latents, shape (B, C, H, W).
    """
    largest = x.new_zeros(x[:, 0].shape)
    for axis, ahead, behind in ((-1, (0, 1), (1, 0)), (-2, (0, 0, 0, 1), (0, 0, 1, 0))):
        steps = x.diff(dim=axis).abs().amax(1)
        largest = largest.maximum(pad(steps, ahead)).maximum(pad(steps, behind))
    return largest
