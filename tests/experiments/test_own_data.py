"""The command line trains on a user's own data, or says in a sentence why not."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm
from tiny_run import tiny

import vaejax
from experiments import train
from experiments.harness.cli import run_main
from experiments.harness.json_files import read_json
from experiments.training.dataset import dataset_of
from experiments.training.load import load_trained
from experiments.training.run import check, prepare
from vaejax.core import VaejaxError
from vaejax.data import load
from vaejax.evaluation import log_likelihood

RNG = np.random.default_rng(0)
TABLE = RNG.normal((40.0, 3000.0), (12.0, 500.0), (120, 2))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder of files, good and bad, that is the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, side in (("same", 8), ("mixed", 9)):
        Path(name).mkdir()
        for i in range(12):
            shape = (8, 8 if i else side)
            pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(Path(name, f"{i:02}.png"))
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken", "a.png").write_text("is no image")
    np.save("counts.npy", RNG.poisson(3.0, (60, 5)))
    np.save("holes.npy", np.where(TABLE > 4000, np.nan, TABLE))
    np.save("infinite.npy", np.where(TABLE > 4000, np.inf, TABLE))
    np.save("pickled.npy", np.array([{}]), allow_pickle=True)
    Path("text.npy").write_text("1,2,3\n4,5,6\n")
    np.savez("odd.npz", images=TABLE)
    np.savez("own.npz", x_train=TABLE[:99], x_test=TABLE[99:])
    rows = [f"{a:.2f},{b:.1f}" for a, b in TABLE]
    Path("table.csv").write_text("\n".join(["age,income", *rows]))
    Path("no_names.csv").write_text("\n".join(rows))
    Path("stray.csv").write_text("\n".join(["age,income", *rows, "old,10"]))
    cities = [f"{row},{'AB'[i % 2]}" for i, row in enumerate(rows)]
    Path("cities.csv").write_text("\n".join(["age,income,city", *cities]))
    names = [f"{row},person {i}" for i, row in enumerate(rows)]
    Path("names.csv").write_text("\n".join(["age,income,name", *names]))
    Path("damaged.parquet").write_text("PAR1 and no more")
    Path("notes.txt").write_text("a file of another kind")
    return tmp_path


SMALL = "--model-settings latent_dim=2 hidden=8 likelihood="
MISTAKES = {
    "nothing there": (
        "--dataset none.csv",
        r"nothing at none.csv: give a folder of images.* \.parquet",
    ),
    "a name that is misspelt": (
        "--dataset mnits",
        "unknown dataset 'mnits': did you mean 'mnist'.* or the path of your own data",
    ),
    "another kind of file": ("--dataset notes.txt", "notes.txt is no file that vaejax"),
    "an empty folder": ("--dataset ./empty", r"empty holds no images.*\.png.*webp"),
    "images of two sizes": (
        "--dataset ./mixed",
        "00.png has 8 x 9 pixels and mixed/01.png has 8 x 8: give an image_size",
    ),
    "a broken image": ("--dataset ./broken", "a.png cannot be used as an image"),
    "text named .npy": ("--dataset text.npy", "text.npy cannot be read as .npy.*save"),
    "pickled objects": ("--dataset pickled.npy", "pickled.npy cannot be read as .npy"),
    "a damaged file": ("--dataset damaged.parquet", "cannot be read as .parquet"),
    "arrays of other names": (
        "--dataset odd.npz",
        "odd.npz holds the arrays images: name the examples x, or x_train and x_test",
    ),
    "no names of columns": ("--dataset no_names.csv", "first line .* holds numbers"),
    "text among numbers": (
        "--dataset stray.csv",
        "column 'age' of stray.csv holds 'old' among numbers, in row 121.*"
        "--missing-value old",
    ),
    "a column of names": (
        "--dataset names.csv",
        "column 'name' of names.csv holds 120 different texts, such as 'person 0'",
    ),
    "text for a likelihood of numbers": (
        f"--dataset cities.csv {SMALL}fixed_normal",
        "column 'city' .* 2 categories, and the likelihood fixed_normal takes numbers",
    ),
    "a column that is not there": (
        "--dataset cities.csv --label-column town",
        "cities.csv: unknown column 'town': use one of age, city, income",
    ),
    "real numbers as classes": (
        "--dataset table.csv --label-column age",
        "labels of table.csv are real numbers",
    ),
    "missing values": (
        f"--dataset holes.npy {SMALL}fixed_normal",
        r"values of x are not finite.* the first is nan, at x\[.*fill in",
    ),
    "infinite values": (
        "--dataset infinite.npy",
        r"values of infinite.npy are infinite.* the first is inf, at x\[",
    ),
    "a likelihood of bits": (
        f"--dataset table.csv {SMALL}bernoulli",
        r"bernoulli takes 0 and 1, and 192 of 192 .* the first is .*fixed_normal",
    ),
    "a likelihood of an interval": (
        f"--dataset table.csv {SMALL}pixel_beta",
        r"pixel_beta takes numbers from 0 to 1.* first is .* takes them: fixed_normal",
    ),
    "a protocol of others": (
        f"--dataset counts.npy --protocol dynamic {SMALL}bernoulli",
        "counts.npy does not allow the protocol dynamic, only counts, reals",
    ),
    "shares of another sum": (
        "--dataset table.csv --split 0.8,0.1,0.2",
        r"shares of the splits are \(0.8, 0.1, 0.2\): use positive numbers of sum 1",
    ),
    "one share": ("--dataset table.csv --split 1", r"split is \(1.0,\): give"),
    "shares beside own splits": (
        "--dataset own.npz --split 0.8,0.2",
        "own.npz has its own splits, train, test: leave split out",
    ),
    "sizes of what is no image": (
        "--dataset table.csv --image-size 8",
        "image_size is 8, which says nothing about table.csv: leave it out",
    ),
    "columns of images": (
        "--dataset ./same --label-column city",
        "label_column is 'city', which says nothing about same",
    ),
    "standardised images": (
        "--dataset ./same --standardize",
        "standardize is for real numbers, and same holds 256 grey levels",
    ),
    "own settings of a registered set": (
        "--dataset digits --image-size 4 --standardize",
        "image_size, standardize are for your own data, and digits is registered",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_sentence_and_exit_code_2(name, folder, monkeypatch, capsys):
    words, message = MISTAKES[name]
    argv = ["train.py", "--epochs", "1", "--batch-size", "10", *words.split()]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        run_main(train.Config, train.run)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    with pytest.raises(VaejaxError, match=message):
        raise VaejaxError(err)
    assert not Path("runs").exists()


GOOD = {
    "a folder of images": (
        {"dataset": "./same", "image_size": 6},
        ("fixed_normal", "none", (6, 6, 1), 10),
    ),
    "the same as bits": (
        {"dataset": "./same"},
        ("bernoulli", "dynamic", (8, 8, 1), 10),
    ),
    "counts": ({"dataset": "counts.npy"}, ("poisson", "counts", (5,), 48)),
    "counts as real numbers": (
        {"dataset": "counts.npy"},
        ("fixed_normal", "reals", (5,), 48),
    ),
    "a table": (
        {"dataset": "cities.csv", "label_column": "city", "split": (0.5, 0.5)},
        ("diagonal_normal", "reals", (2,), 60),
    ),
    "splits of the file": ({"dataset": "own.npz"}, ("laplace", "reals", (2,), 99)),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_protocol_is_the_first_that_fits_the_likelihood(name, folder):
    settings, (likelihood, protocol, shape, count) = GOOD[name]
    model = ("latent_dim=2", "hidden=8", f"likelihood={likelihood}")
    own = {"eval_examples": None, "batch_size": 5, "model_settings": model}
    config = tiny(folder / "run", **own, **settings)
    assert check(config) == protocol
    run = prepare(config)
    assert run.model.data_shape == shape
    assert len(run.data.train.x) == count


def test_the_seed_of_the_splits_is_not_that_of_the_training(folder):
    def test_split(**settings):
        config = tiny(folder / "run", dataset="table.csv", **settings)
        return load(dataset_of(config), "test").images

    np.testing.assert_array_equal(test_split(seed=0), test_split(seed=1))
    assert (test_split(split_seed=1) != test_split()).any()


def test_a_run_does_not_go_on_with_other_data(folder, monkeypatch):
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    begun = tiny(
        folder / "run",
        dataset="table.csv",
        model_settings=("latent_dim=2", "hidden=8", "likelihood=diagonal_normal"),
        batch_size=8,
        eval_examples=None,
    )
    train.run(begun)
    longer = dataclasses.replace(begun, epochs=2, resume=True)
    before = Path("table.csv").read_text()
    Path("table.csv").write_text(before.replace("\n4", "\n5"))
    with pytest.raises(VaejaxError, match=r"table.csv holds other data .*--overwrite"):
        train.run(longer)
    Path("table.csv").write_text(before)
    assert train.run(longer).summary["train"]["epochs"] == 2


def test_a_table_of_mixed_kinds_describes_itself_and_is_not_needed_again(
    tmp_path, monkeypatch
):
    """The columns are real, heavy-tailed, counts, bits and words; a fifth is lost."""
    monkeypatch.setattr(train.report, "draw", lambda *_: {})
    rng = np.random.default_rng(0)
    z = rng.normal(size=300)
    columns = {
        "height": np.char.mod("%.2f", 170 + 8 * z + rng.normal(size=300)),
        "income": np.char.mod("%.2f", np.exp(8 + z + rng.normal(size=300))),
        "visits": np.char.mod("%d", rng.poisson(np.exp(3 + 0.3 * z))),
        "member": np.char.mod("%d", z + rng.normal(size=300) > 0),
        "city": np.array(["Bern", "Kyoto", "Quito"])[np.digitize(z, [-0.5, 0.5])],
    }
    cells = np.stack(list(columns.values()), 1)
    gaps = rng.random(cells.shape) < 0.2
    rows = [",".join(row) for row in np.where(gaps, "", cells)]
    file = tmp_path / "people.csv"
    file.write_text("\n".join([",".join(columns), *rows]))
    config = tiny(
        tmp_path / "run",
        dataset=str(file),
        model_settings=("latent_dim=2", "hidden=8", "likelihood=columns"),
        batch_size=16,
        select="validation",
        eval_examples=None,
    )
    results = train.run(config)
    assert results.summary["train"]["chosen"]["by"] == "validation loss"
    words = read_json(config.out / "model.json")["settings"][-1]
    kinds = [word.split(":")[0] for word in words.partition("=")[2].split(",")]
    assert kinds == ["normal", "log_normal", "poisson", "bernoulli", "categorical"]
    x = load(str(file), "test").images
    file.unlink()
    run = vaejax.load(config.out)
    assert run.encode(x).shape == (len(x), 2)
    filled = run.impute(x, num_samples=50).x
    assert np.isnan(x).any()
    np.testing.assert_array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])
    assert set(filled[:, 4]) <= {0, 1, 2}
    assert np.isfinite(run.log_likelihood(x, num_samples=50).log_px).all()


@pytest.mark.slow
def test_standardised_data_have_their_log_likelihood_in_their_own_units(folder, capsys):
    config = tiny(
        folder / "run",
        dataset="table.csv",
        standardize=True,
        model_settings=("latent_dim=2", "hidden=8", "likelihood=diagonal_normal"),
        batch_size=8,
        epochs=20,
        eval_examples=None,
        eval_num_samples=200,
    )
    results = train.run(config)
    assert "found table.csv: 120 examples of shape [2]" in capsys.readouterr().out
    trained = load_trained(config.out)
    raw = load("table.csv").images
    scale = np.log(raw.std(0)).sum()
    own = log_likelihood(
        trained.model,
        trained.params,
        trained.data.test,
        trained.run.keys.evaluate,
        num_samples=200,
    ).summary()
    found = results.summary["test"]
    for figure in ("log_likelihood", "elbo"):
        assert np.isclose(found[figure], own[figure] - scale, rtol=1e-4)
    # Independent normals are the law that drew the table.
    law = norm.logpdf(load("table.csv", "test").images, (40.0, 3000.0), (12.0, 500.0))
    assert abs(found["log_likelihood"] - law.sum(1).mean()) < 0.5
    assert json.loads((config.out / "results.json").read_text())["test"] == found
