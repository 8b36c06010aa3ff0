"""The gallery: its trainings can be had, and what it then shows is right."""

import dataclasses
import html
import importlib

import numpy as np
import pytest
from scipy.special import gammaln

from experiments import train
from experiments.gallery.__main__ import PRESETS, Config, check, run
from experiments.gallery.entries import ENTRIES
from experiments.gallery.entry import Shown
from experiments.gallery.judges import few_labels
from experiments.gallery.systems.disentanglement import _gain
from experiments.harness.json_files import read_json
from experiments.training.config import Config as TrainConfig
from vaejax.core import VaejaxError
from vaejax.data import load
from vaejax.evaluation import linear_probe

pytestmark = pytest.mark.slow


def test_every_training_of_the_papers_makes_sense():
    assert list(check(Config(preset="paper"))) == list(ENTRIES)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_training_starts_from_one_before_it(preset):
    for name, entry in ENTRIES.items():
        before: list[str] = []
        for label, training in entry.presets[preset].items():
            start = training.start_from
            assert start is None or str(start) in before, (name, label)
            before.append(label)


def test_unknown_systems_and_presets_are_refused():
    with pytest.raises(VaejaxError, match="unknown system 'vea': did you mean 'vae'"):
        check(Config(systems=("vea",)))
    with pytest.raises(VaejaxError, match="unknown preset 'long': use one of"):
        check(Config(preset="long"))


def test_a_gallery_is_trained_once_and_shown(tmp_path, monkeypatch):
    training = TrainConfig(
        dataset="digits",
        protocol="none",
        model="stacked_denoising_autoencoder",
        model_settings=("latent_dim=4", "hidden=8", "pretraining_steps=2"),
        bound="reconstruction",
        estimator="pathwise",
        epochs=1,
    )
    name, count, ran = "stacked_denoising_autoencoder", 100, []
    entry = dataclasses.replace(ENTRIES[name], presets={"short": {"stacked": training}})
    monkeypatch.setitem(ENTRIES, name, entry)
    monkeypatch.setattr(few_labels, "LABELS", (count,))
    monkeypatch.setattr(few_labels, "STEPS", 2)
    once = train.run
    monkeypatch.setattr(train, "run", lambda config: [ran.append(config), once(config)])
    config = Config(systems=(name,), out=tmp_path)
    first = run(config)
    written = read_json(tmp_path / "results.json")
    assert written["systems"] == first.numbers
    page = first.report.read_text()
    assert html.escape(written["findings"][name]) in page
    assert entry.title in page
    assert (tmp_path / name / "figure_1.png").stat().st_size > 0
    # The control: raw pixels through the same probe.
    seen, test = (load("digits", s, protocol="none") for s in ("train", "test"))
    x, test_x = (d.images.reshape(len(d.images), -1) / 255 for d in (seen, test))
    of_pixels = linear_probe(x[:count], seen.labels[:count], test_x, test.labels)
    found = first.numbers[name][f"linear probe, {count} labels, pixels"]
    assert found == pytest.approx(of_pixels, abs=0.01)
    # As if it had been interrupted: what is trained is shown, and not trained again.
    (tmp_path / "results.json").unlink()
    brief = dataclasses.replace(entry, show=lambda trained: Shown({}, f"{[*trained]}"))
    monkeypatch.setitem(ENTRIES, name, brief)
    again = run(dataclasses.replace(config, resume=True))
    assert html.escape("['stacked']") in again.report.read_text()
    assert len(ran) == 1
    # Its time is among the seconds all the same.
    seconds = read_json(tmp_path / name / "seconds.json")["stacked"]
    assert read_json(tmp_path / "results.json")["seconds"][name] > seconds


def test_few_labels_compare_with_the_other_start_and_the_pixels(monkeypatch):
    monkeypatch.setattr(few_labels, "LABELS", (10, 20))
    probe = {(10, "own"): 0.6, (20, "own"): 0.9, (10, "new"): 0.5, (20, "new"): 0.7}
    found = few_labels.FewLabels(probe, probe, {10: 0.65, 20: 0.85})
    says = found.sentence("own", "new")
    assert "Own is better than new in 4 of 4 comparisons" in says
    assert says.endswith("its probe better than that of raw pixels in 1 of 2")
    assert found.table().rows[-2:] == [
        ["pixels", 10, 0.65, None],
        ["pixels", 20, 0.85, None],
    ]
    assert found.numbers()["linear probe, 20 labels, pixels"] == 0.85


def test_a_gain_is_over_the_curve_at_the_same_distortion():
    curve = [
        {"distortion": 30.0, "mig": 0.4, "total_correlation": 1.0},
        {"distortion": 10.0, "mig": 0.2, "total_correlation": 3.0},
    ]
    found = {"distortion": 15.0, "mig": 0.3, "total_correlation": 2.0}
    assert _gain(found, curve, "mig") == pytest.approx(0.3 - 0.25)
    assert _gain(found, curve, "total_correlation") == pytest.approx(2.5 - 2.0)


def test_ldas_bounds_lie_just_below_the_likelihoods_of_its_topics(monkeypatch):
    """The likelihoods by 200,000 draws of theta from the prior, at the same topics."""
    topics = 3
    module = importlib.import_module("experiments.gallery.systems.topic_model")
    monkeypatch.setattr(module, "NUM_TOPICS", topics)
    monkeypatch.setattr(module, "PASSES", 100)
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.full(12, 0.2), topics)
    theta = rng.dirichlet(np.full(topics, 1 / topics), 240)
    counts = rng.multinomial(20, theta @ true)
    train, test = counts[:200], counts[200:]
    found, _ = module._lda(train, test.astype(np.float32))
    draws = rng.dirichlet(np.full(topics, 1 / topics), 200_000)
    log_words = np.log(draws @ found.weights)
    orders = gammaln(test.sum(1) + 1) - gammaln(test + 1).sum(1)
    log_p = orders + log_words @ test.T
    peak = log_p.max(0)
    weights = np.exp(log_p - peak)
    exact = peak + np.log(weights.mean(0))
    error = weights.std(0) / weights.mean(0) / np.sqrt(len(draws))
    gap = exact - found.bounds
    assert error.max() < 0.02
    assert (gap > -5 * error - 1e-3).all()
    assert gap.mean() < 1.5  # 1.0: what a Dirichlet distribution misses
