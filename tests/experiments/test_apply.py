"""experiments.apply: a trained run, its data or others, and a file of results."""

from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from tiny_run import tiny

import vaejax
from experiments import apply, train
from experiments.apply import Config
from experiments.training.load import load_trained
from vaejax import VaejaxError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    train.run(tiny(out, num_seeds=2))
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """A run on a table of numbers and a text, standardised, with gaps."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    size = rng.normal(50, 5, 200)
    columns = {
        "size": size,
        "weight": 2 * size + rng.normal(0, 1, 200),
        "age": rng.normal(3.0, 1.0, 200),
    }
    csv.write_csv(pa.table(columns), folder / "rows.csv")
    train.run(
        tiny(
            folder / "run",
            dataset=str(folder / "rows.csv"),
            standardize=True,
            model_settings=("latent_dim=1", "hidden=8", "likelihood=diagonal_normal"),
        )
    )
    return folder


def written(**settings) -> dict[str, np.ndarray]:
    results = apply.run(Config(**settings))
    with np.load(results.out) as file:
        return dict(file)


def test_a_runs_own_split_gives_its_own_figures(digits):
    """The log-likelihood of the test split is the one in results.json."""
    run, trained = vaejax.load(digits, seed=1), load_trained(digits)
    pairs = zip(*map(jax.tree.leaves, (run.params, trained.seeds[1])), strict=False)
    assert all((a == b).all() for a, b in pairs)
    test = vaejax.data.load("digits", "test")
    key = jax.random.split(trained.run.keys.evaluate, 2)[1]
    found = run.log_likelihood(test.images[:20], num_samples=7, key=key)
    expected = vaejax.log_likelihood(
        *(trained.model, trained.seeds[1], run.examples(test.images[:20])),
        *(key,),
        num_samples=7,
    )
    np.testing.assert_array_equal(found.log_px, expected.log_px)


def test_codes_are_encoded_and_decoded(digits, tmp_path):
    run = vaejax.load(digits)
    test = vaejax.data.load("digits", "test").images
    codes = tmp_path / "codes.npz"
    found = written(checkpoint=digits, to="encode", data="digits", out=codes)
    np.testing.assert_array_equal(found["z"], run.encode(test))
    np.save(tmp_path / "x.npy", test)
    own = written(
        checkpoint=digits,
        to="encode",
        data=str(tmp_path / "x.npy"),
        out=tmp_path / "own.npz",
    )
    np.testing.assert_array_equal(own["z"], found["z"])
    x = written(checkpoint=digits, to="decode", data=str(codes), out=tmp_path / "x.npz")
    np.testing.assert_array_equal(x["x"], run.reconstruct(test))


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("reconstruct", {"x"}),
        ("interpolate", {"x"}),
        ("sample", {"x"}),
        ("anomaly_score", {"score"}),
        (
            "log_likelihood",
            {
                *("log_px", "monte_carlo_error", "effective_sample_size"),
                *("pareto_k", "elbo", "elbo_error"),
            },
        ),
    ],
)
def test_every_result_is_an_array_a_table_and_an_image_if_it_is_one(
    to, names, digits, tmp_path
):
    data = None
    if to != "sample":
        data = str(tmp_path / "few.npz")
        np.savez(data, x=vaejax.data.load("digits", "test").images[:6])
    asked = {"checkpoint": digits, "to": to, "data": data, "num_samples": 3}
    found = written(**asked, out=tmp_path / "a.npz")
    assert found.keys() == names
    apply.run(Config(**asked, out=tmp_path / "a.parquet"))
    rows = parquet.read_table(tmp_path / "a.parquet")
    assert len(rows) == len(next(iter(found.values())))
    if "x" in names:
        apply.run(Config(**asked, out=tmp_path / "a.png"))
        assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    else:
        with pytest.raises(VaejaxError, match="is for images"):
            apply.run(Config(**asked, out=tmp_path / "a.png"))


def test_a_table_is_read_by_the_names_of_its_columns(table, tmp_path):
    rows = csv.read_csv(table / "rows.csv")
    other = rows.select(["age", "weight", "size"])
    other = other.append_column("more", [[0.5] * len(rows)])
    asked = {"checkpoint": table / "run", "to": "reconstruct"}
    results = []
    for name, given in (("a", rows), ("b", other)):
        path = tmp_path / f"{name}.csv"
        csv.write_csv(given, path)
        results.append(
            written(**asked, data=str(path), out=tmp_path / f"{name}.npz")["x"]
        )
    np.testing.assert_array_equal(*results)
    sizes = rows["size"].to_numpy()
    assert abs(results[0][:, 0].mean() - sizes.mean()) < 3  # in the data's own units
    apply.run(Config(**asked, data=str(tmp_path / "a.csv"), out=tmp_path / "x.parquet"))
    assert parquet.read_table(tmp_path / "x.parquet").column_names == rows.column_names
    csv.write_csv(rows.drop_columns("age"), tmp_path / "less.csv")
    with pytest.raises(VaejaxError, match=r"less\.csv has no column 'age'"):
        written(**asked, data=str(tmp_path / "less.csv"), out=tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"to": "encode"}, "--to encode needs data: write --to encode DATA"),
        ({"to": "sample", "data": "digits"}, "--to sample needs no data"),
        ({"to": "encode", "data": "digitz"}, "digitz is no data set and no file"),
        ({"to": "encode", "data": "none.npy"}, "there is nothing at none.npy"),
        ({"to": "decode", "data": "none.npz"}, "cannot read codes from none.npz"),
        ({"to": "classify", "data": "digits"}, "gaussian_mlp has no classes"),
        ({"to": "encode", "data": "digits", "out": Path("x.txt")}, "unknown suffix"),
        ({"to": "encode", "data": "digits", "split": "tset"}, "tset"),
        ({"to": "encode", "data": "digits", "model_seed": 2}, "seed is 2"),
        ({"to": "sample", "label": "a"}, "unknown class 'a'"),
        ({"to": "sample", "what": "params"}, "use mean or sample"),
        ({"to": "sample", "checkpoint": Path("none")}, "cannot read the model of none"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    settings, message, digits, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = {"checkpoint": digits, "out": Path("out.npz"), **settings}
    with pytest.raises(VaejaxError, match=message):
        apply.run(Config(**given))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_if_asked(digits, tmp_path):
    asked = {"checkpoint": digits, "to": "sample", "out": tmp_path / "x.npz"}
    first = written(**asked)
    with pytest.raises(VaejaxError, match="use --overwrite"):
        apply.run(Config(**asked, seed=1))
    assert (written(**asked, overwrite=True)["x"] == first["x"]).all()
    assert (written(**asked, overwrite=True, seed=1)["x"] != first["x"]).any()
