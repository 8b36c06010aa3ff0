"""ProdLDA, NVLDA and the Dirichlet VAE against latent Dirichlet allocation."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma
from jaxtyping import Array, Float
from scipy.sparse import csr_matrix
from scipy.special import softmax
from sklearn.decomposition import LatentDirichletAllocation

from experiments.gallery.entry import Entry, Shown, Trained
from experiments.training.config import Config
from experiments.training.evaluate import evaluate
from vaejax.core import Scalar
from vaejax.data import load
from vaejax.evaluation import npmi, perplexity, posterior_means
from vaejax.families import dirichlet
from vaejax.families.multinomial import log_orders
from vaejax.models.prod_lda import topic_weights
from vaejax.plotting import Table, topic_coherences

SYSTEMS = {
    "prod_lda": "ProdLDA",
    "nvlda": "NVLDA",
    "dirichlet_vae": "Dirichlet VAE",
}
LDA = "LDA (scikit-learn)"
# Srivastava and Sutton 2017, 50 topics.
PUBLISHED = {"ProdLDA": 1009, "NVLDA": 1078, LDA: 893}
NUM_TOPICS = 50
TOP_WORDS = 10
SAMPLES = 10  # samples in the ELBO of a document
# Least share of documents that hold a used topic most; it is below 1 / NUM_TOPICS, so
# that there always is a used topic.
USED = 1 / 200
PASSES = 10  # passes of LDA over the documents
EPOCHS = {"short": 30, "paper": 100}  # epochs of the other models
COMMON = Config(
    dataset="20newsgroups",
    model="prod_lda",
    estimator="pathwise",
    batch_size=200,
    learning_rate=2e-3,
    eval_num_samples=1,
)
SETTINGS = {
    "prod_lda": ("topics=product",),
    "nvlda": ("topics=mixture",),
    "dirichlet_vae": ("topics=mixture", "posterior=dirichlet", "concentration=0.1"),
}


def _trainings(systems: Sequence[str], epochs: int, warm_up: int) -> dict[str, Config]:
    return {
        name: dataclasses.replace(
            COMMON,
            model_settings=(f"num_topics={NUM_TOPICS}", *SETTINGS[name]),
            epochs=epochs,
            kl_weight=("linear", f"epochs={warm_up}"),
        )
        for name in systems
    }


class Topics(NamedTuple):
    """A model's topics, and its fit to the documents."""

    weights: Float[np.ndarray, "K V"]  # word weights of each topic
    bounds: Float[np.ndarray, " N"]  # bounds on log p(x) of every test document
    shares: Float[np.ndarray, "N K"]  # inferred topic shares


class Scores(NamedTuple):
    """The scores of a model's topics."""

    perplexity: float  # upper bound, for the test documents
    coherence: Float[np.ndarray, " K"]  # NPMI of every topic on the training documents
    diversity: float  # the share of different words among all topics' top words
    used: np.ndarray  # [K], True if one document in 200 holds the topic most

    @property
    def npmi(self) -> float:
        """The mean NPMI over topics."""
        return float(self.coherence.mean())

    @property
    def npmi_of_used(self) -> float:
        """The mean NPMI over the topics that are used."""
        return float(self.coherence[self.used].mean())


def _show(trained: Mapping[str, Trained]) -> Shown:
    one = trained["prod_lda"]
    train = load(COMMON.dataset, "train", data_dir=one.config.data_dir)
    x, words = np.asarray(one.data.test.x), train.words
    assert words is not None
    of_lda, own = _lda(train.images, x)
    found = {SYSTEMS[name]: _topics(trained[name]) for name in trained} | {LDA: of_lda}
    scores = {name: _scores(topics, train.images, x) for name, topics in found.items()}
    best, lda = scores[SYSTEMS["prod_lda"]], scores[LDA]
    lower = "lower" if best.perplexity < lda.perplexity else "not lower"
    higher = "higher" if best.npmi > lda.npmi else "no higher"
    listed = "; ".join(
        f"{name}: perplexity {score.perplexity:.0f}, NPMI {score.npmi:.2f}, of the "
        f"{score.used.sum()} topics in use {score.npmi_of_used:.2f}"
        for name, score in list(scores.items())[1:-1]
    )
    return Shown(
        numbers={
            f"{what} {name}": value
            for name, score in scores.items()
            for what, value in (
                ("perplexity", score.perplexity),
                ("NPMI", score.npmi),
                ("diversity", score.diversity),
                ("used topics", float(score.used.sum())),
                ("NPMI of used topics", score.npmi_of_used),
            )
        }
        | {f"its own perplexity {LDA}": own},
        finding=(
            f"ProdLDA's test perplexity is {lower} than that of LDA in the same run, "
            f"{best.perplexity:.0f} against {lda.perplexity:.0f} (scikit-learn's own "
            f"figure: {own:.0f}), all of them upper bounds; its topics' mean NPMI is "
            f"{higher}, {best.npmi:.2f} against {lda.npmi:.2f}; of its topics' top "
            f"words {best.diversity:.0%} are different ones, of LDA's "
            f"{lda.diversity:.0%}. Of {NUM_TOPICS} topics {best.used.sum()} are used, "
            f"of a mean NPMI of {best.npmi_of_used:.2f}; of LDA's {lda.used.sum()}, of "
            f"{lda.npmi_of_used:.2f}. {listed}."
        ),
        figures=[topic_coherences({n: score.coherence for n, score in scores.items()})],
        tables=[
            Table(
                [
                    *("model", "test perplexity, bound", "published"),
                    *("NPMI, all topics", "different top words"),
                    *("used topics", "NPMI, used topics"),
                ],
                [
                    [
                        *(n, s.perplexity, PUBLISHED.get(n), s.npmi, s.diversity),
                        *(int(s.used.sum()), s.npmi_of_used),
                    ]
                    for n, s in scores.items()
                ],
                f"{len(x):,} test documents, {NUM_TOPICS} topics; NPMI of {TOP_WORDS} "
                "words on the training documents, not the published reference; a topic "
                "is used that one document in 200 holds most.",
            ),
            *(_words(n, found[n], scores[n].coherence, words) for n in found),
        ],
    )


def _scores(
    topics: Topics, train: np.ndarray, test: Float[np.ndarray, "N V"]
) -> Scores:
    top = _top_words(topics)
    most = np.bincount(topics.shares.argmax(1), minlength=NUM_TOPICS)
    return Scores(
        perplexity(topics.bounds, test),
        npmi(topics.weights, train, TOP_WORDS),
        len(np.unique(top)) / top.size,
        most >= USED * len(test),
    )


def _top_words(topics: Topics) -> np.ndarray:
    """Every topic's words of most weight, [K, TOP_WORDS]."""
    return np.argsort(-topics.weights, axis=1, kind="stable")[:, :TOP_WORDS]


def _topics(trained: Trained) -> Topics:
    model, params = trained.model, trained.params
    estimate = evaluate(trained.run, params, jax.random.key(0), num_samples=SAMPLES)
    means = posterior_means(model, params, trained.data.test)
    shares = (
        means if model.posterior.space.kind == "simplex" else softmax(means, axis=1)
    )
    return Topics(np.asarray(topic_weights(params.decoder)), estimate.elbo, shares)


def _lda(train: np.ndarray, test: Float[np.ndarray, "N V"]) -> tuple[Topics, float]:
    """Online variational LDA, and the perplexity that scikit-learn gives.

    scikit-learn's is of all words together, and its bound counts the uncertainty of the
    topics; the bounds returned are those of each document at the mean topics,

        sum_w x_w log sum_k exp(E log theta_k) topic_kw - KL(q(theta) || p(theta)),

    as for the other models.
    """
    lda = LatentDirichletAllocation(
        NUM_TOPICS,
        learning_method="online",
        max_iter=PASSES,
        batch_size=256,
        learning_offset=50,
        random_state=0,
    )
    lda.fit(csr_matrix(train, dtype=float))
    documents = csr_matrix(test, dtype=float)
    prior = lda.doc_topic_prior_
    # q(theta | x) is a Dirichlet distribution whose concentrations sum to this.
    total = NUM_TOPICS * prior + test.sum(1, keepdims=True)
    shares = lda.transform(documents)
    concentrations = jnp.asarray(total * shares)
    kl = dirichlet().kl
    assert kl is not None
    topics = lda.components_ / lda.components_.sum(1, keepdims=True)

    def bound(a: Float[Array, " K"], x: Float[Array, " V"]) -> Scalar:
        theta = jnp.exp(digamma(a) - digamma(a.sum()))
        log_prior = jnp.full(NUM_TOPICS, np.log(prior))
        penalty = kl(jnp.log(a), log_prior)
        return log_orders(x) + x @ jnp.log(theta @ topics) - penalty

    pairs = concentrations, test
    bounds = jax.lax.map(lambda pair: bound(*pair), pairs, batch_size=100)
    found = Topics(topics, np.asarray(bounds), shares)
    return found, lda.perplexity(documents)


def _words(
    name: str,
    topics: Topics,
    coherence: Float[np.ndarray, " K"],
    words: tuple[str, ...],
) -> Table:
    order = np.argsort(-coherence)
    top = _top_words(topics)
    return Table(
        ["NPMI", "words of most weight"],
        [[f"{coherence[k]:.2f}", " ".join(words[w] for w in top[k])] for k in order],
        f"{name}: the topics, the most coherent first.",
    )


topic_model = Entry(
    title="Topic models: ProdLDA, NVLDA and the Dirichlet VAE",
    text=(
        "Documents as counts of words, and topics as what their words have in common "
        "(Srivastava and Sutton 2017, arXiv:1703.01488). ProdLDA multiplies its topics "
        "and NVLDA mixes them as LDA does, both with a logistic normal posterior. The "
        "Dirichlet VAE (Joo et al. 2019, arXiv:1901.02739) has a Dirichlet one; it is "
        "in the paper preset alone, as its epochs came to take minutes on two cores. "
        "Beside them LDA by scikit-learn. The papers' batch normalisation and dropout "
        "have no counterpart here. The budgets differ: LDA "
        f"makes {PASSES} passes over the documents, and its Dirichlet prior has the "
        f"concentration 1/{NUM_TOPICS}; the others are trained for {EPOCHS['short']} "
        f"epochs ({EPOCHS['paper']} in the paper preset) with concentration 1 (the "
        "Dirichlet VAE: 0.1)."
    ),
    presets={
        "short": _trainings(("prod_lda", "nvlda"), EPOCHS["short"], 25),
        "paper": _trainings(tuple(SYSTEMS), EPOCHS["paper"], 50),
    },
    show=_show,
)
