"""Autoencoders without and with hidden layers, against principal component analysis."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.training.config import Config
from vaejax.core import Example
from vaejax.evaluation import reconstruction
from vaejax.models.denoising_autoencoder import denoise
from vaejax.plotting import Table, image_rows

CODE = {"linear": 10, "deep": 30}  # units of the code


PLAIN = Config(
    model="autoencoder", bound="reconstruction", estimator="pathwise", protocol="none"
)


def _trainings(deep_epochs: int, hidden: str) -> dict[str, Config]:
    code = f"latent_dim={CODE['linear']}"
    linear = dataclasses.replace(
        PLAIN,
        dataset="digits",
        model_settings=(code,),
        batch_size=719,
        learning_rate=1e-2,
        epochs=800,
    )
    wide = f"latent_dim={CODE['deep']}"
    deep = dataclasses.replace(PLAIN, dataset="mnist", epochs=deep_epochs)
    return {
        "linear": linear,
        "sigmoid": dataclasses.replace(
            linear, model_settings=(code, "posterior.units=sigmoid")
        ),
        "shallow": dataclasses.replace(deep, model_settings=(wide,)),
        "deep": dataclasses.replace(deep, model_settings=(wide, f"hidden={hidden}")),
    }


def principal_components(
    trained: Trained, units: int
) -> tuple[PCA, Float[np.ndarray, "N ..."]]:
    """The PCA of the training images, and its reconstructions of the test images."""
    train, test = (
        np.asarray(trained.data.train.x) / 255,
        np.asarray(trained.data.test.x),
    )
    pca = PCA(units, random_state=0).fit(train.reshape(len(train), -1))
    kept = pca.inverse_transform(pca.transform(test.reshape(len(test), -1)))
    return pca, kept.reshape(test.shape)


def squared_error(trained: Trained, images: np.ndarray | jax.Array) -> float:
    """The squared error of an image's reconstruction, mean over the images."""
    examples = Example(jnp.asarray(images, float))
    kept = reconstruction(trained.model, trained.params, examples)
    return float(kept.squared_error.mean())


def decoded(trained: Trained, images: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
    """The model's reconstructions of the images."""
    return jax.vmap(lambda x: denoise(trained.model, trained.params, x))(images)


def _show(trained: Mapping[str, Trained]) -> Shown:
    linear, sigmoid, shallow, deep = (
        trained[name] for name in ("linear", "sigmoid", "shallow", "deep")
    )
    pca, _ = principal_components(linear, CODE["linear"])
    decoder = np.asarray(linear.params.decoder["layers"][0]["kernel"])
    angle = float(subspace_angles(decoder.T, pca.components_.T).max())
    train = np.asarray(linear.data.train.x) / 255
    flat = train.reshape(len(train), -1)
    left_out = flat - pca.inverse_transform(pca.transform(flat))
    of_pca = float(np.square(left_out).sum(1).mean())
    of_linear, of_sigmoid = (squared_error(one, train) for one in (linear, sigmoid))

    _, projected = principal_components(deep, CODE["deep"])
    test = deep.data.test.x
    projection = float(np.square(projected - test).sum((1, 2, 3)).mean())
    of_deep, of_shallow = (squared_error(one, test) for one in (deep, shallow))

    no = "no better" if of_sigmoid >= of_pca * (1 - 1e-5) else "better"
    redrawn = decoded(deep, test[:10])
    return Shown(
        numbers={
            "largest principal angle": angle,
            "train squared error of PCA (digits)": of_pca,
            "train squared error of the linear autoencoder": of_linear,
            "train squared error with sigmoid units": of_sigmoid,
            "test squared error of PCA (mnist)": projection,
            "test squared error of the linear autoencoder (mnist)": of_shallow,
            "test squared error of the deep autoencoder": of_deep,
        },
        finding=(
            f"the linear decoder spans the principal subspace of 10 dimensions up to "
            f"{angle:.1e} rad, at a squared error of {of_linear:.4f} against PCA's "
            f"{of_pca:.4f}; with sigmoid units it is {of_sigmoid:.4f}, "
            f"{no}. On MNIST with 30 units the deep autoencoder's is {of_deep:.2f} "
            f"against PCA's {projection:.2f} and a linear one's {of_shallow:.2f}: "
            f"{'better' if of_deep < projection else 'not better'}."
        ),
        figures=[
            image_rows(
                {
                    "data": test[:10],
                    "deep autoencoder": redrawn,
                    "PCA": projected[:10],
                },
                "MNIST test images from codes of 30 numbers",
            )
        ],
        tables=[
            Table(
                ["data", "code", "method", "squared error of an image"],
                [
                    ["digits, train", 10, "PCA", of_pca],
                    ["digits, train", 10, "linear autoencoder", of_linear],
                    ["digits, train", 10, "sigmoid units", of_sigmoid],
                    ["MNIST, test", 30, "PCA", projection],
                    ["MNIST, test", 30, "linear autoencoder", of_shallow],
                    ["MNIST, test", 30, "deep autoencoder", of_deep],
                ],
            )
        ],
    )


autoencoder = Entry(
    title="Linear and deep autoencoders",
    text=(
        "Without hidden layers an autoencoder is principal component analysis, and "
        "squashing units do not help it (Bourlard and Kamp 1988; Baldi and Hornik "
        "1989); with hidden layers it is a nonlinear one (Hinton and Salakhutdinov "
        "2006)."
    ),
    presets={
        "short": _trainings(6, "256,128"),
        "paper": _trainings(200, "1000,500,250"),
    },
    show=_show,
)
