"""Reconstructed images against the true ones: PSNR and SSIM of pixels in [0, 1]."""

import numpy as np
from jaxtyping import Float

from vaejax.core import VaejaxError, check_finite, check_lengths

WINDOW = 11  # width in pixels of SSIM's Gaussian of scale 1.5


def psnr(
    images: Float[np.ndarray, "N H W C"], reference: Float[np.ndarray, "N H W C"]
) -> Float[np.ndarray, " N"]:
    """The peak signal-to-noise ratio of every image, -10 log10(MSE), in dB.

    The ratio is infinite where an image is its reference.
    """
    from skimage.metrics import peak_signal_noise_ratio

    check_lengths(images=images, reference=reference)
    check_finite(images=images, reference=reference)

    with np.errstate(divide="ignore"):  # the mean squared error may be 0
        return np.array(
            [
                peak_signal_noise_ratio(true, image, data_range=1)
                for image, true in zip(images, reference, strict=True)
            ]
        )


def ssim(
    images: Float[np.ndarray, "N H W C"], reference: Float[np.ndarray, "N H W C"]
) -> Float[np.ndarray, " N"]:
    """The structural similarity of every image to its reference, at most 1.

    Window, constants and population covariances are the paper's; the mean is over
    pixels whose window is within the image, and over channels.

    Raises:
        VaejaxError: images of less than 11x11 pixels.

    References:
        Wang, Bovik, Sheikh and Simoncelli 2004.
    """
    from skimage.metrics import structural_similarity

    check_lengths(images=images, reference=reference)
    check_finite(images=images, reference=reference)

    if min(images.shape[1:3]) < WINDOW:
        raise VaejaxError(
            f"ssim looks through windows of {WINDOW}x{WINDOW} pixels, and the images "
            f"have {images.shape[1]}x{images.shape[2]}: use psnr"
        )
    return np.array(
        [
            structural_similarity(
                image,
                true,
                data_range=1,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            for image, true in zip(images, reference, strict=True)
        ]
    )
