"""The command line: one message for every mistake, exit codes, help, interruptions."""

import importlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny

from experiments import (
    advise,
    bound_tightness,
    cost,
    demo,
    estimator_variance,
    snr_vs_k,
    train,
)
from experiments.harness import metric_rows
from experiments.harness.cli import parse, run_main
from vaejax.core import VaejaxError
from vaejax.training import checkpoints

pytestmark = pytest.mark.slow

EXPERIMENTS = {
    "train": train,
    "estimator_variance": estimator_variance,
    "demo": demo,
    "snr_vs_k": snr_vs_k,
    "advise": advise,
    "bound_tightness": bound_tightness,
    "cost": cost,
}
TINY = (
    "--dataset digits --model-settings latent_dim=2 hidden=8 --eval-num-samples 7 "
    "--eval-examples 20"
)
PROCESS = [sys.executable, "-m", "experiments.train", *TINY.split()]


def call(monkeypatch, capfd, name: str, *words: object) -> tuple[int, str]:
    """The exit code and stderr of an experiment called in this process."""
    module = EXPERIMENTS[name]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        run_main(module.Config, module.run)
    return exit_.value.code, " ".join(capfd.readouterr().err.split())


# The experiment, what is typed, and what the message must say.
MILLION = 1_000_000
MISTAKES = [
    ("train", "--dataset nope", "unknown dataset 'nope'.*binarized_mnist.*digits"),
    ("train", "--dataset mnsit", "unknown dataset 'mnsit': did you mean 'mnist'.*[?]"),
    ("train", "--estimator dregg", "unknown estimator 'dregg': did you mean 'dreg' or"),
    ("train", "--schedule cosin", "unknown .*'cosin': did you mean 'cosine'[?]"),
    ("train", "--model nope", "unknown model 'nope'.*gaussian_mlp"),
    ("train", "--bound nope", "unknown bound 'nope'.*iwae"),
    ("train", "--bound iwae:a=1", "'iwae' has no setting 'a'"),
    ("train", "--bound beta=4", "'beta=4' follows no name: write NAME:beta=4"),
    ("train", "--bound beta_elbo:beta=x", "beta='x' must be a number"),
    ("train", "--estimator nope", "unknown estimator 'nope'.*pathwise"),
    ("train", "--estimator rebar:temperature=0", "temperature is 0.0: use"),
    (
        "train",
        "--estimator muprop:fitted=true --estimator-settings fitted=true",
        "fitted is given twice",
    ),
    ("train", "--regularizers nope", "unknown regularizer 'nope'.*mmd"),
    ("train", "--protocol nope", "unknown protocol 'nope'.*dynamic"),
    ("train", "--schedule nope", "unknown schedule 'nope'.*constant.*cosine"),
    ("train", "--model-settings nope=1", "no setting .*nope.*latent_dim"),
    ("train", "--bound-settings beta=2", "'elbo' has no setting .*none"),
    ("train", "--estimator-settings a=2", "'dreg' has no setting .*none"),
    ("train", "--nope 1", "no flag '--nope'.*--help lists all"),
    (
        "train",
        "--model sigmoid_belief_network --estimator dreg",
        "dreg refuses .*reparam.* use ",
    ),
    ("train", "--estimator rloo", "K = 1 .*num_samples >= 2, or score_function"),
    ("train", "--estimator stl --bound iwae --num-samples 5", "use dreg.*allow_bias"),
    (
        "train",
        "--model sigmoid_belief_network --regularizers mmd --estimator score_function",
        "mmd refuses .*reparam.*leave",
    ),
    ("train", "--num-samples 0", "--num-samples is 0.*an integer"),
    ("train", "--num-samples -3", "--num-samples is -3.*an integer"),
    ("train", "--num-samples abc", "--num-samples.*'abc'"),
    ("train", "--epochs 0", "--epochs is 0: use an integer"),
    ("train", "--batch-size 0", "--batch-size is 0: use an integer"),
    ("train", "--micro-batch-size 7", "does not divide batch_size 100.*divisor"),
    (
        "train",
        "--micro-batch-size 0",
        "--micro-batch-size is 0: use an integer",
    ),
    ("train", "--sample-devices 2", "does not divide num_samples 1: use a divisor"),
    ("train", "--sample-devices 2 --num-samples 4", "over 2 of 1 devices: use a div"),
    ("train", "--process-id 1", "belong together, and to --distributed: give all"),
    ("train", "--memory-budget 0", "--memory-budget is 0: use an integer"),
    (
        "train",
        "--num-samples 30000 --bound iwae --memory-budget 9",
        "30000 samples of one example need .* budget is 9 MiB: raise the budget",
    ),
    (
        "train",
        "--num-samples 3000 --bound iwae --micro-batch-size 50 --memory-budget 99",
        "50 examples needs .* budget is 99 MiB: .*smaller micro-batches",
    ),
    ("train", "--matmul-precision half", "unknown matmul_precision 'half'.*bfloat16"),
    ("train", "--matmul-precision tensorfloat32", "this is a CPU.*use bfloat16"),
    (
        "train",
        "--learning-rate 0",
        "--learning-rate is 0.0: use a number",
    ),
    ("train", "--learning-rate -1", "--learning-rate is -1.0: use a number"),
    ("train", "--learning-rate nan", "--learning-rate is nan: use a number"),
    ("train", "--learning-rate inf", "--learning-rate is inf: use a number"),
    (
        "train",
        "--checkpoint-steps 0",
        "--checkpoint-steps is 0: use an integer",
    ),
    (
        "train",
        "--checkpoint-seconds -1",
        "--checkpoint-seconds is -1.0: use a number",
    ),
    (
        "train",
        "--checkpoint-seconds nan",
        "--checkpoint-seconds is nan: use a number",
    ),
    ("train", "--on-nonfinite nope", "on_nonfinite 'nope': use one of skip, stop"),
    ("train", "--max-skipped 0", "--max-skipped is 0: use an integer"),
    ("train", "--eval-examples 0", "--eval-examples is 0: use an integer"),
    ("train", "--eval-examples -5", "--eval-examples is -5: use an integer"),
    ("train", "--eval-examples 999999", "999999, but the test split .*fewer"),
    (
        "train",
        "--eval-num-samples 0",
        "--eval-num-samples is 0: use an integer",
    ),
    ("train", "--model-settings latent_dim=0", "latent_dim=0 must be an integer"),
    ("train", "--model-settings latent_dim=True", "latent_dim=True must be"),
    ("train", "--model-settings latent_dim=abc", "latent_dim='abc' must be"),
    ("train", "--model-settings latent_dim={[]}", "latent_dim='{.*}' must be"),
    (
        "train",
        "--model-settings hidden=",
        "hidden=.* must be at most 30 values",
    ),
    (
        "train",
        "--model-settings hidden=8,0",
        "hidden=.* must be at most 30 values",
    ),
    (
        "train",
        f"--model-settings hidden={'8,' * 30}8",
        "hidden=.* must be at most 30 values",
    ),
    (
        "train",
        "--protocol none --model-settings "
        "likelihood=mixture_of_discretized_logistics likelihood.num_components=20000",
        "num_components=20000 must be an integer from 1 to 100",
    ),
    (
        "train",
        "--protocol none --model-settings likelihood=categorical_levels "
        "likelihood.levels=1000000",
        "levels=1000000 must be an integer from 2 to 65,536",
    ),
    (
        "train",
        "--model gaussian_conv --model-settings blocks=100",
        "blocks=100 must be an integer from 0 to 10",
    ),
    (
        "train",
        "--model m2 --model-settings num_classes=1000000",
        "num_classes=1000000 must be an integer from 1 to 10,000",
    ),
    (
        "train",
        "--model-settings posterior=iaf posterior.context=1000000",
        "inputs 50,000,050 x units 64, .* lower inputs or units",
    ),
    (
        "train",
        "--model two_layer_gaussian --model-settings latent_dims=50",
        "latent_dims=50 must be 2 values, each an integer",
    ),
    (
        "train",
        "--estimator muprop --estimator-settings fitted=2",
        "fitted=2 must be true or false",
    ),
    ("train", "--model-settings activation=nope", "unknown activation.*tanh"),
    (
        "train",
        "--model-settings likelihood=nope",
        "unknown likelihood 'nope'.*norm",
    ),
    ("train", "--model-settings posterior=iaf", "use pathwise.*pay_for_inverse"),
    ("train", "--model-settings prior=vampire", "unknown prior 'vampire'.*'vamp'"),
    (
        "train",
        "--model-settings prior=vamp prior.num_components=x",
        "num_components='x' must be an integer",
    ),
    (
        "train",
        "--kl-weight linear epochs=0",
        "setting epochs=0 must be an integer",
    ),
    ("train", "--kl-weight linear:epochs=0", "epochs=0 must be an integer"),
    ("train", "--kl-weight lineal", "unknown KL weight 'lineal'.*'linear'"),
    ("train", "--encoder-steps 0", "--encoder-steps is 0: use an integer"),
    (
        "train",
        "--regularizers free_bits --model-settings posterior=planar_flow",
        "free_bits refuses .*use diagonal_normal and standard_normal",
    ),
    *[
        ("train", f"--model-settings {name}=3", f"no setting .*'{name}'")
        for name in ("name", "registry", "pairs", "self")
    ],
    *[
        ("train", f"--model-settings {part}_settings={value}", "settings by name")
        for part in ("prior", "likelihood", "posterior")
        for value in ("3", "{1:2}", "[1]")
    ],
    (
        "train",
        "--model-settings prior_settings=3 prior.num_components=10",
        "prior.num_components is given twice",
    ),
    *[
        ("train", f"--model-settings {name}={2**63 - 1}", "an integer from 1 to")
        for name in ("latent_dim", "hidden", "prior=vamp prior.num_components")
    ],
    *[
        ("train", f"--{name} {2**32}", f"--{name} is {2**32}: use an integer from 1")
        for name in ("checkpoint-steps", "max-skipped", "encoder-steps", "num-seeds")
    ],
    ("train", "--eval-num-samples 1" + "0" * 30, "from 1 to 10,000,000"),
    (
        "train",
        "--model-settings hidden=1000000,1000000 latent_dim=1000000",
        "training of gaussian_mlp would take .* GiB, and the memory has .*lower",
    ),
    ("train", "--kl-weight linear epochs=" + "9" * 5000, "epochs=.* from 1 to 1,000"),
    ("estimator_variance", f"--pool {2**32}", "--pool is .* from 1 to 1,000,000, or l"),
    ("estimator_variance", "--budget " + "9" * 400 + "s", "--budget is .* such as 90s"),
    ("estimator_variance", "--model linear_gaussian nope", "unknown model 'nope'"),
    (
        "estimator_variance",
        "--model gaussian_mlp --model-settings data_shape=1000000,1000000,1000",
        "numbers whose product is from 1 to 2,147,483,647",
    ),
    ("train", "--model-settings latent_dim", "'latent_dim' is not a setting.*name="),
    ("train", "--model-settings =3", "'=3' is not a setting.*name=value"),
    ("train", "--model-settings hidden=8 hidden=9", "hidden is given twice"),
    ("train", "--model-settings data_shape=3", "data_shape.* follow from the data"),
    ("train", "--bound beta_elbo --bound-settings beta=x", "beta='x' must be a number"),
    ("train", "--bound beta_elbo --bound-settings beta=-1", "beta is -1.0: use"),
    ("train", "--model gaussian_conv --model-settings channels=()", "use channels=32"),
    (
        "train",
        "--model vq_vae --model-settings blocks=-1",
        "an integer from 0 to 10",
    ),
    (
        "train",
        "--model m2 --estimator stratified --protocol dequantized --model-settings "
        "likelihood=shared_normal",
        "m2 cannot hold the parameters that shared_normal learns.*such as fixed_normal",
    ),
    (
        "train",
        "--protocol dynamic --model-settings likelihood=fixed_normal",
        "real numbers.*--protocol none or dequantized, or .*likelihood=bernoulli",
    ),
    ("train", "--protocol none", "bits.*--protocol dynamic.*likelihood=fixed_normal"),
    (
        "train",
        "--protocol dequantized --model-settings likelihood=discretized_logistic",
        "grey levels.*'dequantized'.*--protocol none, or .*likelihood=fixed_normal",
    ),
    (
        "train",
        "--model-settings likelihood=poisson",
        "counts.*digits does not give: use a model with another likelihood",
    ),
    (
        "train",
        "--model-settings likelihood=shared_normal likelihood.channels=3",
        "3 channels, but the data's last axis has 1: use channels=1",
    ),
    (
        "train",
        "--model-settings likelihood=categorical_levels likelihood.levels=1",
        "levels=1 must be an integer from 2",
    ),
    (
        "train",
        "--model-settings likelihood.scale=0.1",
        "'bernoulli' has no setting .*scale.*missing",
    ),
    (
        "train",
        "--model-settings likelihood=fixed_normal likelihood.scale=0",
        "scale is 0.0: use a finite number above 0",
    ),
    (
        "train",
        "--model-settings likelihood=fixed_normal likelihood.scale=1e999",
        "scale=inf must be a number from -1e.30 to 1e.30",
    ),
    (
        "train",
        "--model-settings likelihood=fixed_normal likelihood.scale=x",
        "scale='x' must be a number",
    ),
    (
        "train",
        "--model-settings likelihood=fixed_normal likelihood.scale=None",
        "=None must be a number",
    ),
    (
        "train",
        "--regularizers mmd weight=-1",
        "weight of mmd is -1.0: use at least 0",
    ),
    (
        "train",
        "--regularizers mmd weight=1e999",
        "weight=inf must be a number from -1e.30 to 1e.30",
    ),
    (
        "train",
        "--regularizers mmd weight=nan",
        "weight='nan' must be a number",
    ),
    (
        "train",
        "--regularizers mmd nope=1",
        "'mmd' has no setting .*nope.*weight",
    ),
    (
        "train",
        "--regularizers stratified_total_correlation num_examples=9",
        "num_examples.* follow from the data set",
    ),
    ("train", "--regularizers weight=5", "'weight=5' follows no name: .*NAME:weight=5"),
    ("train", "--regularizers mmd weight", "unknown regularizer 'weight'.*mmd"),
    ("train", "--protocol static", "digits does not allow the protocol static"),
    ("train", "--dataset mnist --data-dir EMPTY", "not prepared.*prepare_data mnist"),
    (
        "train",
        "--seed 99999999999999999999",
        "--seed is 9+: .*0 to 4,294,967,295",
    ),
    ("train", "--seed -1", "--seed is -1: .* 0 to 4,294,967,295"),
    ("train", "--regularizers mmd --batch-size 1", "at least 2"),
    (
        "estimator_variance",
        "--seed -1",
        "--seed is -1: .* 0 to 4,294,967,295",
    ),
    ("train", "--profile --epochs 1", "second epoch: use at least 2"),
    ("train", "--resume --overwrite", "leave one of them out"),
    ("estimator_variance", "--model nope", "unknown model 'nope'.*linear_gaussian"),
    ("estimator_variance", "--bounds nope", "unknown bound 'nope'.*iwae"),
    ("estimator_variance", "--estimators nope", "unknown estimator 'nope'.*dreg"),
    ("estimator_variance", "--estimators rebar a=1", "'rebar.*' has no setting 'a'"),
    ("estimator_variance", "--estimators a=1 rebar", "'a=1' follows no name"),
    ("advise", "--bound renyi:alpha=x", "alpha='x' must be a number"),
    ("snr_vs_k", "--bound renyi:alpha=x", "alpha='x' must be a number"),
    ("cost", "--bound renyi:alpha=x", "alpha='x' must be a number"),
    ("cost", "--estimators all", "unknown estimator 'all'"),
    ("estimator_variance", "--bounds", "at least one bound"),
    ("estimator_variance", "--num-samples", "at least one"),
    (
        "estimator_variance",
        "--num-samples 1 0",
        "--num-samples is .*an integer",
    ),
    ("estimator_variance", "--num-outer 0", "--num-outer is .*an integer"),
    ("estimator_variance", "--pool 0", "--pool is 0: use an integer"),
    ("estimator_variance", "--budget soon", "budget is 'soon': use a time such as 90s"),
    (
        "estimator_variance",
        "--reference-error 0",
        "--reference-error is 0.0: use a number",
    ),
    ("estimator_variance", "--draws 0", "--draws is 0: use an integer"),
    (
        "estimator_variance",
        f"--num-samples {MILLION} --num-outer {MILLION} --batch-size {MILLION}",
        "num_samples 1,000,000 x num_outer 1,000,000 x .*lower num_samples or num_out",
    ),
    (
        "estimator_variance",
        f"--num-samples 30 {MILLION} --num-outer 1 3000",
        "num_samples 1,000,000 x num_outer 3,000 x batch_size 4",
    ),
    (
        "advise",
        f"--num-samples {MILLION} --batch-size {MILLION}",
        "num_samples 1,000,000 x num_outer 1 x batch_size",
    ),
    ("advise", "--num-samples 100000 --pool 30000", "batch_size 30,000"),
    (
        "snr_vs_k",
        f"--num-samples {MILLION} --num-outer 1000",
        "num_samples 1,000,000 x num_outer 1,000 x batch_size 8, .*lower",
    ),
    (
        "bound_tightness",
        f"--bounds iwae --num-samples {MILLION} --draws 10000000",
        "draws 10,000,000, 3,004 numbers each, would hold",
    ),
    (
        "cost",
        f"--base {MILLION} {MILLION} 200",
        "num_samples 1,000,000 x num_seeds .*lower num_samples or num_seeds",
    ),
    ("cost", f"--width {MILLION}", "networks of width 1,000,000 and 50 latents would"),
    ("cost", f"--num-seeds {MILLION}", "would take .*seeds"),
    (
        "train",
        f"--num-seeds {MILLION} --num-samples {MILLION}",
        "would take .*seeds",
    ),
    ("estimator_variance", "--draws 2003", "2003 draws cannot be split.*as 2000"),
    ("estimator_variance", "--draws 10 --pool 9", "cannot be split.*at least 16"),
    ("estimator_variance", "--estimators all dreg", "all stands for .*use all alone"),
    ("estimator_variance", "--estimators dreg dreg", "name each one once"),
    ("estimator_variance", "--num-samples 2 2", "name each one once"),
    ("estimator_variance", "--model vade vade", "model is .*name each one once"),
    (
        "estimator_variance",
        "--batch-size 0",
        "--batch-size is 0: use an integer",
    ),
    ("estimator_variance", "--model-settings data_mean=1", "data_mean=1 must be left"),
    ("estimator_variance", "--checkpoint EMPTY", "cannot read .*experiments.train"),
    ("estimator_variance", "--checkpoint x --model-settings a=1", "leave them out"),
    ("snr_vs_k", "--draws 2010", "2010 draws cannot be split.*multiple of 20"),
    ("snr_vs_k", "--checkpoint EMPTY", "cannot read .*experiments.train"),
    ("snr_vs_k", "--resume --overwrite", "leave one of them out"),
    ("advise", "--model nope", "unknown model 'nope'.*linear_gaussian"),
    ("advise", "--bound nope", "unknown bound 'nope'.*iwae"),
    ("advise", "--estimators nope", "unknown estimator 'nope'.*dreg"),
    ("advise", "--estimators", "name at least one estimator"),
    ("advise", "--estimators dreg dreg", "name each one once"),
    ("advise", "--num-samples 4 0", "--num-samples is .*an integer"),
    ("advise", "--num-outer 0", "--num-outer is .*an integer"),
    ("advise", "--batch-size", "one batch size"),
    ("advise", "--pool 0", "--pool is 0: use an integer"),
    ("advise", "--passes 0", "--passes is 0: use an integer"),
    ("advise", "--draws 2003", "2003 draws cannot be split.*as 2000"),
    ("advise", "--max-seconds 0", "--max-seconds is 0.0: use a number"),
    ("advise", "--max-seconds nan", "--max-seconds is nan: use a number"),
    ("advise", "--max-bytes 0", "--max-bytes is 0: use an integer"),
    ("advise", "--group nope", "unknown group 'nope': use one of all, .*encoder"),
    ("advise", "--seed -1", "--seed is -1: .* 0 to 4,294,967,295"),
    ("advise", "--estimators rloo", "rloo: .*vimco.*use other estimators"),
    ("advise", "--estimators stl", "stl: .*--allow-bias for biased ones"),
    ("advise", "--checkpoint EMPTY", "cannot read .*experiments.train"),
    ("advise", "--checkpoint x --model-settings a=1", "leave them out"),
    ("demo", "--epochs 0", "--epochs is 0: use an integer"),
    (
        "demo",
        "--eval-num-samples 0",
        "--eval-num-samples is 0: use an integer",
    ),
    ("demo", "--draws 7", "7 draws cannot be split.*as 2000"),
]


@pytest.mark.parametrize(("name", "words", "message"), MISTAKES)
def test_a_mistake_is_one_message_before_anything_is_written(
    name, words, message, tmp_path, monkeypatch, capfd
):
    words = words.replace("EMPTY", str(tmp_path / "empty")).split()
    if name == "train" and "--dataset" not in words:
        words += ["--dataset", "digits"]
    code, err = call(monkeypatch, capfd, name, *words, "--out", tmp_path / "run")
    assert code == 2
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert err.count("error:") == 1
    assert not (tmp_path / "run").exists()


def test_a_wrong_name_is_found_with_its_setting(tmp_path):
    config = tiny(tmp_path / "run", dataset="mnsit")
    with pytest.raises(VaejaxError, match="unknown dataset 'mnsit'"):
        train.run(config)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("train", "--epochs 1.5", "--epochs.*'1.5'"),
        ("train", "--learning-rate fast", "--learning-rate.*'fast'"),
        ("train", "--eval-examples all", "--eval-examples.*'all'"),
        ("train", "--epochs", "--epochs has no value: write --epochs N"),
        ("train", "--resume=maybe", "'maybe' belongs to no flag"),
        ("train", "stray", "'stray' belongs to no flag"),
        ("train", "--lr 0.1", "did you mean --learning-rate[?]"),
        ("train", "--k 5", "did you mean --num-samples[?]"),
        ("estimator_variance", "--K 5", "did you mean --num-samples[?]"),
        ("estimator_variance", "--M 5", "did you mean --num-outer or --model[?]"),
        ("snr_vs_k", "--K 5", "did you mean --num-samples or --fit-from[?]"),
        ("train", "--S 5", "did you mean --eval-num-samples or"),
        ("train", "--batchsize 9", "did you mean --batch-size or --micro-batch-size"),
        ("train", "--latent-dim 9", "a model's own settings .* --model-settings name="),
        ("estimator_variance", "--num-samples 1 x", "--num-samples.*'x'"),
        ("demo", "--draws many", "--draws.*'many'"),
    ],
)
def test_a_flag_that_cannot_be_read_is_one_message(
    name, words, message, monkeypatch, capfd
):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words.split()])
    with pytest.raises(SystemExit) as exit_:
        run_main(EXPERIMENTS[name].Config, EXPERIMENTS[name].run)
    captured = capfd.readouterr()
    assert exit_.value.code == 2
    assert captured.out == ""
    assert re.fullmatch("error: [^\n]+\n", captured.err)
    assert re.search(message, captured.err), captured.err


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda: jnp.zeros(10**13), "allocating 40000000000000 bytes"),
        (lambda: np.zeros((10**7, 10**8)), "728. TiB|7.11 PiB"),
        (lambda: bytearray(2**62), "Python could allocate no more"),
    ],
)
def test_memory_that_runs_out_is_one_message(ask, reason, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["demo.py", "--draws", "40"])
    with pytest.raises(SystemExit) as exit_:
        run_main(demo.Config, lambda config: ask())
    err = capfd.readouterr().err
    assert exit_.value.code == 2
    assert err.startswith("error: not enough memory for python -m experiments.demo --d")
    assert re.search(reason, err)
    assert "Traceback" not in err


def test_another_error_of_jax_stays_an_error(monkeypatch):
    def fail(config):
        raise jax.errors.JaxRuntimeError("INTERNAL: no kernel")

    monkeypatch.setattr(sys, "argv", ["demo.py"])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        run_main(demo.Config, fail)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_out_that_cannot_be_written_to_is_refused(
    name, tmp_path, monkeypatch, capfd
):
    if name == "train":
        words = ["--dataset", "digits", "--model-settings", "hidden=8"]
    else:
        words = []
    (tmp_path / "file").write_text("mine")
    for flags in ([], ["--overwrite"]):
        for out in (tmp_path / "file", tmp_path / "file" / "run"):
            code, err = call(monkeypatch, capfd, name, *words, *flags, "--out", out)
            assert code == 2
            assert re.fullmatch(r"error: cannot write to .* use another --out", err)
    assert (tmp_path / "file").read_text() == "mine"

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, err = call(monkeypatch, capfd, name, *words, "--out", tmp_path / "locked")
    assert code == 2
    assert "(Permission denied): use another --out" in err


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("train", 89),
        ("estimator_variance", 36),
        ("advise", 34),
        ("demo", 24),
        ("sweep", 24),
        ("runs", 24),
        ("speed", 32),
        ("cost", 30),
        ("bound_tightness", 24),
        ("snr_vs_k", 24),
        ("precision", 20),
        ("view", 20),
    ],
)
def test_help_fits_a_screen(name, lines, monkeypatch, capfd):
    module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        run_main(module.Config, module.run)
    shown = capfd.readouterr().out
    assert exit_.value.code == 0
    assert len(shown.splitlines()) <= lines
    assert "default: " in shown
    assert f"python -m experiments.{name}" in shown


def test_the_process_is_quiet_and_exits_with_0_then_2(tmp_path):
    command = [*PROCESS, "--epochs", "1", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Neither a progress bar nor warnings, but lines that say how far it is.
    for line in done.stderr.splitlines():
        assert re.match(
            "(training|log-likelihood): [0-9]+/[0-9]+ (epochs|images)", line
        )
    assert "training: 0/1 epochs, compiling" in done.stderr
    assert "\x1b" not in done.stdout
    assert str(tmp_path / "run") in done.stdout.replace("\n", "")
    assert (tmp_path / "run" / "results.json").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stdout == "building gaussian_mlp for digits\n"
    assert re.fullmatch(r"error: .*finished run.*--overwrite.*\n", again.stderr)


def long_run(out: Path, **more: object) -> train.Config:
    return tiny(out, epochs=12, checkpoint_seconds=0.0, **more)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    return train.run(long_run(tmp_path_factory.mktemp("whole") / "run")).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_goes_on_to_the_same_result(number, uninterrupted, tmp_path):
    out = tmp_path / "run"
    flags = f"--epochs 12 --checkpoint-seconds 0 --out {out}".split()
    process = subprocess.Popen(
        [*PROCESS, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not checkpoints.latest(out / "checkpoints"):
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, err
        assert re.search(
            r"^interrupted: .*--resume continues from there\n\Z", err, re.M
        )
        assert err.count("interrupted: ") == 1
        assert "Traceback" not in err
    assert not (out / "results.json").exists()
    steps = [checkpoints.latest(run / "checkpoints") for run in (out, uninterrupted)]
    assert 0 < steps[0] < steps[1]

    train.run(long_run(out, resume=True))
    assert_same_run(out, uninterrupted)


def assert_same_run(one: Path, other: Path) -> None:
    """The same figures, parameters and epochs, to the last bit; but for the times."""
    mine, theirs = (
        json.loads((out / "results.json").read_text()) for out in (one, other)
    )
    for found in (mine, theirs):
        del found["test"]["images_per_second"]
        del found["train"]["images_per_second"], found["train"]["compile_seconds"]
    assert mine == theirs
    assert digest(one) == digest(other)
    rows, expected = metric_rows.read_rows(one), metric_rows.read_rows(other)
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in expected]
    for row, twin in zip(rows, expected, strict=True):
        for split in metric_rows.FIGURES:
            assert row[split] == twin[split]


def digest(out: Path) -> str:
    """The hash of the final training state, all of its arrays."""
    folder = out / "checkpoints"
    path = folder / str(checkpoints.latest(folder)) / "_CHECKPOINT_METADATA"
    return re.search(r"sha256\W+([0-9a-f]{64})", path.read_text())[1]


LARGEST = {  # the slowest to build of what the limits of settings allow
    "layers": ["hidden=" + ",".join(["4"] * 30)],
    "blocks": ["blocks=10", "--model", "gaussian_conv"],
    "layers of a ladder": ["num_hidden=10", "--model", "ladder_mlp"],
    "components of a pixel": [
        "likelihood=mixture_of_discretized_logistics",
        "likelihood.num_components=100",
    ],
}


@pytest.mark.parametrize("what", LARGEST)
def test_the_largest_model_is_announced_and_built_within_a_minute(
    what, tmp_path, monkeypatch, capsys
):
    def opened(config: train.Config) -> None:
        raise TimeoutError(config.model)

    monkeypatch.setattr(train, "open_training", opened)
    words = ["--dataset", "digits", "--protocol", "none", "--out", str(tmp_path / "x")]
    if "likelihood" not in LARGEST[what][0]:
        words[3] = "threshold"
    config = parse(train.Config, [*words, "--model-settings", *LARGEST[what]])
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=config.model):
        train.run(config)
    assert time.monotonic() - begun < 60
    assert capsys.readouterr().out.startswith(f"building {config.model} for digits\n")
