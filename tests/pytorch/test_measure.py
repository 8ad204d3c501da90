"""Spectra of PyTorch modules, by autograd, by Lanczos and in closed form; and the laws put beside them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402

from isocalc import FeedForward, InvalidInputError, NoAnswerError, ResNet, spectrum  # noqa: E402
from isocalc.pytorch.jacobian import dense_log_s, jacobian, largest_log_s  # noqa: E402
from isocalc.pytorch.measure import measure  # noqa: E402
from isocalc.pytorch.module import Call, Target, drawn_input  # noqa: E402

SHAPES = {
    "mlp": (8, 8),
    "post": (200,),
    "pre": (150,),
    "preln": (120,),
    "Conv": (3, 6, 6),
    "wide": (10,),
    "Branching": (12,),
}


def call_of(name, shape, trial=0, dtype="float64"):
    module = Target(f"torch_models:{name}", dtype=dtype).build(1, trial)
    return Call(module, drawn_input(1, trial, shape, 0.7))


@pytest.mark.parametrize("name", SHAPES)
def test_the_jacobian_is_that_of_autograd(name):
    call = call_of(name, SHAPES[name])
    dense = torch.autograd.functional.jacobian(call.module, call.batch)
    dense = dense.reshape(call.output.numel(), call.batch.numel()).numpy()
    assert jacobian(call) == pytest.approx(dense, rel=1e-10, abs=1e-13)
    s = np.linalg.svd(dense, compute_uv=False)[::-1]
    found = np.exp(dense_log_s(call))
    assert found[-s.size :] == pytest.approx(s, rel=1e-10, abs=1e-13)
    assert not found[: found.size - s.size].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_lanczos_finds_the_largest(name):
    call = call_of(name, SHAPES[name])
    assert largest_log_s(call, 3) == pytest.approx(dense_log_s(call)[-3:], abs=1e-9)


@pytest.mark.parametrize("name", ["old_style", "in_place", "cubes_in_place", "tokens", "off_centre"])
def test_every_trial_has_the_values_of_its_own_module(name):
    """Modules without a law, whose derivatives are found in other ways, single and double precision."""
    shape = {"tokens": (4, 16), "off_centre": (60,)}.get(name, (20,))
    for dtype, rel in (("own", 2e-3), ("float64", 1e-9)):
        target = Target(f"torch_models:{name}", dtype=dtype)
        found = measure(target, shape, trials=3, seed=2)
        assert found.recognised is None
        for trial, log_s in enumerate(found.log_s):
            call = Call(target.build(2, trial).double(), drawn_input(2, trial, shape, 1.0))
            dense = torch.autograd.functional.jacobian(lambda x: call.module(x.clone()), call.batch)  # noqa: B023
            exact = np.linalg.svd(dense.reshape(call.output.numel(), -1), compute_uv=False)[::-1]
            large = np.flatnonzero(exact > 1e-4 * exact[-1])
            assert large.size > 5
            assert np.exp(log_s[large]) == pytest.approx(exact[large], rel=rel)


@pytest.mark.parametrize("name", ["random_forward", "counting"])
@pytest.mark.parametrize("largest", [None, 3])
def test_what_changes_from_call_to_call_is_refused(name, largest):
    with pytest.raises(NoAnswerError, match="changes from call to call"):
        measure(Target(f"torch_models:{name}"), (20,), trials=2, seed=2, largest=largest)


def test_a_function_that_returns_the_same_weights_is_not_judged():
    found = measure(Target("torch_models:the_same"), (8, 8), trials=3, seed=2)
    assert not found.networks
    assert {one.verdict for one in found.judged_by(found.law()).statistics} == {"not judged"}


def test_an_orthogonal_linear_network_is_an_isometry():
    found = measure(Target("torch_models:isometry", dtype="float64"), (30,), trials=2, seed=3)
    assert found.log_s == pytest.approx(np.full((2, 30), 7 * np.log(1.1)), abs=1e-12)
    assert found.law().atoms == ((pytest.approx(1.1**7, rel=1e-6), 1.0),)


def test_small_singular_values_come_from_the_layers():
    """A plain decomposition loses most of them; their sum is that of log |det W|."""
    found = measure(Target("torch_models:deep_linear"), (12,), trials=2, seed=5)
    assert found.by_layers == 2
    assert found.lost == 0
    for trial, log_s in enumerate(found.log_s):
        layers = Target("torch_models:deep_linear").build(5, trial)
        exact = sum(np.linalg.slogdet(layer.weight.double().detach().numpy())[1] for layer in layers)
        assert log_s.sum() == pytest.approx(exact, rel=1e-10)
    assert np.ptp(found.log_s[0]) > np.log(1e8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "post", "pre", "preln"])
def test_layers_and_a_dense_decomposition_agree(name, monkeypatch):
    target = Target(f"torch_models:{name}", dtype="float64")
    dense = measure(target, SHAPES[name], trials=1, seed=5)
    monkeypatch.setattr("isocalc.pytorch.measure.FAINT", 1e18)
    layers = measure(target, SHAPES[name], trials=1, seed=5)
    most = min(dense.inputs, dense.outputs)
    assert (layers.by_layers, dense.by_layers) == (1, 0)
    assert layers.log_s[:, -most:] == pytest.approx(dense.log_s[:, -most:], abs=1e-10)


AGREE = {
    "mlp": ((8, 8), "layered"),
    "post": ((200,), "layered"),
    "pre": ((150,), "exact"),
    "preln": ((120,), "layered"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AGREE)
def test_the_law_of_a_module_agrees(name):
    """Seed 2; a right law is rejected in at most 1 % of runs."""
    shape, kind = AGREE[name]
    found = measure(Target(f"torch_models:{name}"), shape, trials=6, seed=2)
    law = found.law()
    assert law.name == kind
    judgement = found.judged_by(law)
    assert judgement.disagrees == ()
    assert sum(verdict == "agrees" for verdict in judgement.verdicts.values()) >= 9


@pytest.mark.slow
def test_a_wrong_law_is_rejected():
    """Seed 2: c a third too small, and the gates of another activation."""
    found = measure(Target("torch_models:post"), (200,), trials=6, seed=2)
    for wrong in (ResNet("tanh", depth=10, sigma_w=1.0, sigma_b=0.1), ResNet("erf", depth=10, sigma_w=1.2)):
        assert "ks_distance" in found.judged_by(spectrum(wrong, law="layered")).disagrees


@pytest.mark.slow
def test_the_largest_alone_are_held_against_the_edge():
    """Seed 2; the edge of another law is rejected."""
    found = measure(Target("torch_models:post"), (200,), trials=6, seed=2, largest=2)
    assert found.method == "lanczos"
    assert found.log_s.shape == (6, 2)
    assert found.judged_by(found.law()).verdicts == {"log_s_max": "agrees"}
    wrong = spectrum(ResNet("tanh", depth=10, sigma_w=2.0), law="layered")
    assert found.judged_by(wrong).verdicts == {"log_s_max": "disagrees"}


def test_a_module_without_law_has_statistics():
    found = measure(Target("torch_models:Conv"), (3, 6, 6), trials=3, seed=2)
    assert found.recognised is None
    assert "a convolution" in found.reason
    assert (found.dropout, found.norms) == (True, "none")
    with pytest.raises(InvalidInputError, match="a convolution"):
        found.law()
    statistics = {one.name: one for one in found.judged_by(None).statistics}
    assert statistics["mass_at_zero"].simulation == 1 - 5 / 108
    rest = found.log_s[:, -5:]
    assert statistics["log_s_q50"].simulation == pytest.approx(np.median(rest, axis=1).mean())
    assert statistics["var_log_lambda"].simulation == pytest.approx((4 * rest.var(axis=1)).mean())
    error = (2 * rest.mean(axis=1)).std(ddof=1) / np.sqrt(3)
    assert statistics["mean_log_lambda"].standard_error == pytest.approx(error)
    assert {one.verdict for one in statistics.values()} == {"not judged"}


def test_one_network_is_compared_but_not_judged():
    found = measure(Target("torch_models:instance"), (40,), trials=3, seed=2)
    assert not found.networks
    judgement = found.judged_by(found.law())
    assert set(judgement.verdicts.values()) == {"not judged"}
    assert judgement.statistics[1].theory is not None


def test_trials_have_networks_and_inputs_of_their_own():
    target = Target("torch_models:wide")
    few, many = (measure(target, (10,), trials=trials, seed=4).log_s for trials in (2, 3))
    assert np.array_equal(few, many[:2])
    assert not np.allclose(many[0], many[2])
    assert not np.allclose(few, measure(target, (10,), trials=2, seed=5).log_s)
    x = drawn_input(4, 0, (3, 5), 2.5)
    assert np.mean(x**2) == pytest.approx(2.5, rel=1e-14)


def test_a_target_may_be_the_thing_itself():
    named = measure(Target("torch_models:wide"), (10,), trials=2, seed=4)
    assert np.array_equal(measure(Target(torch_models.wide), (10,), trials=2, seed=4).log_s, named.log_s)
    assert not measure(Target(torch_models.instance), (40,), trials=2).networks


def test_inputs_of_a_file_are_taken_in_turn():
    rows = np.random.default_rng(1).standard_normal((2, 40))
    found = measure(Target("torch_models:instance", dtype="float64"), (40,), trials=3, inputs=rows)
    assert np.array_equal(found.log_s[0], found.log_s[2])
    assert "mean squares of its inputs differ" in found.reason
    rows /= np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
    found = measure(Target("torch_models:instance", dtype="float64"), (40,), trials=2, inputs=rows)
    assert found.recognised.network.input_variance == pytest.approx(1.0)


def test_a_module_keeps_its_type_and_its_weights():
    target = Target("torch_models:instance")
    before = {name: tensor.clone() for name, tensor in target.build(1, 0).state_dict().items()}
    assert measure(target, (40,), trials=2).dtype == "float32"
    assert measure(Target("torch_models:instance", dtype="float64"), (40,), trials=2).dtype == "float64"
    after = target.build(1, 0).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in target.build(1, 0).parameters())


def test_a_part_is_measured_alone():
    found = measure(Target("torch_models:whole", "1"), (60,), trials=2, seed=1)
    assert found.recognised.network.depth == 4
    found = measure(Target("torch_models:whole"), (20,), trials=2)
    assert found.reason.endswith("2 layers beside them")
    assert found.next_steps == ("measure a part",)
    # A list has no forward of its own: its items one after the other.
    items = measure(Target("torch_models:whole", "1.layers"), (60,), trials=2, seed=1)
    assert items.recognised.words.startswith("4 layers f(W x + b), f = linear")


def test_a_jacobian_that_does_not_fit_is_refused(monkeypatch):
    call = call_of("wide", (10,))
    monkeypatch.setattr("isocalc.pytorch.jacobian.machine_memory", lambda: 5000)
    with pytest.raises(
        NoAnswerError, match=r"a Jacobian of 30 by 10 needs .* and this machine has"
    ) as refusal:
        dense_log_s(call)
    assert refusal.value.next_steps == ("find the largest alone",)


def test_a_square_network_has_the_law_of_feed_forward():
    chain = measure(Target("torch_models:deep_leaky", dtype="float64"), (60,), trials=2, seed=5)
    network = chain.recognised.network
    sigma = float(np.exp(np.mean(np.log(network.sigma_w))))
    same = spectrum(FeedForward("leaky_relu:0.1", depth=6, sigma_w=sigma, input_variance=1.0))
    s = np.linspace(0.01, 3, 20)
    assert chain.law().cdf(s) == pytest.approx(same.cdf(s), abs=1e-9)


@pytest.mark.parametrize("name", ["masked", "sparse", "without_a_row"])
def test_ranks_of_pruned_weights_are_those_of_the_jacobian(name):
    """Against the rank in doubles, whose zeros are below 1e-13 of the largest and the rest far above."""
    width = 8 if name == "without_a_row" else 12
    target = Target(f"torch_models:{name}")
    found = measure(target, (width,), trials=3, seed=2)
    for trial, log_s in enumerate(found.log_s):
        call = Call(target.build(2, trial).double(), drawn_input(2, trial, (width,), 1.0))
        s = np.linalg.svd(jacobian(call), compute_uv=False)[::-1]
        rank = np.count_nonzero(s > 1e-13 * s[-1])
        assert np.count_nonzero(log_s > -np.inf) == rank < width
        assert np.exp(log_s[-rank:]) == pytest.approx(s[-rank:], rel=1e-3)
    assert (found.lost, found.by_layers) == (0, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_types_of_numbers_have_the_same_rank(dtype):
    def make():
        return torch_models.without_a_row().to(getattr(torch, dtype))

    found = measure(Target(make), (8,), trials=2, seed=2)
    assert np.array_equal(found.log_s == -np.inf, [[True] + 7 * [False]] * 2)


def test_zeros_found_by_lanczos_are_zeros():
    found = measure(Target("torch_models:dead"), (8,), trials=2, seed=2, largest=3)
    assert np.all(found.log_s == -np.inf)
    assert found.lost == 6
    (edge,) = found.judged_by(found.law()).statistics
    assert (edge.name, edge.simulation, edge.verdict) == ("log_s_max", None, "not judged")


def test_a_factorisation_that_does_not_converge_is_told(monkeypatch):
    def fails(*_args, **_kwargs):
        raise np.linalg.LinAlgError("SVD did not converge")

    call = call_of("wide", (10,))
    monkeypatch.setattr(np.linalg, "svd", fails)
    with pytest.raises(NoAnswerError, match="the factorisation of the Jacobian did not converge"):
        dense_log_s(call)


def test_calibration_takes_the_statistics_of_a_batch():
    """Against statistics set by hand; the module itself keeps its own."""
    target = Target("torch_models:normalised", dtype="float64")
    found = measure(target, (40,), trials=2, seed=3, calibrate=True)
    assert found.norms == "calibrated"
    module = target.build(3, 1)
    y = torch.as_tensor(drawn_input(3, 1, (256, 40), 1.0, stream=2))
    with torch.no_grad():
        for part in module:
            if isinstance(part, torch.nn.BatchNorm1d):
                part.running_mean[:], part.running_var[:] = y.mean(dim=0), y.var(dim=0)
                y = (y - y.mean(dim=0)) / torch.sqrt(y.var(dim=0, correction=0) + part.eps)
            else:
                y = part(y)
    call = Call(module, drawn_input(3, 1, (40,), 1.0))
    s = np.linalg.svd(jacobian(call), compute_uv=False)[::-1]
    assert np.exp(found.log_s[1][-20:]) == pytest.approx(s[-20:], rel=1e-9)
    before = torch_models.normalised().double()
    measure(Target(before), (40,), trials=2, seed=3, calibrate=True)
    assert measure(Target(before), (40,), trials=2, seed=3).norms == "initial"


def test_statistics_of_inputs_that_are_given():
    rows = np.random.default_rng(1).standard_normal((300, 40))
    target = Target("torch_models:normalised")
    assert measure(target, (40,), trials=2, inputs=rows, calibrate=True).norms == "calibrated"
    with pytest.raises(
        InvalidInputError, match=r"takes a batch of 1 inputs in training mode.*more than 1 value"
    ):
        measure(target, (40,), trials=2, inputs=rows[:1], calibrate=True)


def test_biases_that_cancel_the_mean_of_activations_have_no_law():
    """After ReLU, batch normalisation subtracts W E φ: the law takes biases as independent of weights."""
    found = measure(Target("torch_models:normalised_relu"), (40,), trials=4, seed=2, calibrate=True)
    assert "its biases depend on its weights" in found.reason
    assert found.judged_by(None).statistics


def test_layers_of_two_neurons_are_not_judged():
    def make():
        return torch.nn.Sequential(
            torch_models.gaussian(40, 2, 1.0), torch.nn.Tanh(), torch_models.gaussian(2, 40, 1.0)
        )

    found = measure(Target(make), (40,), trials=8, seed=2)
    judgement = found.judged_by(found.law())
    assert set(judgement.verdicts.values()) == {"not judged"}
    assert {one.obstacle for one in judgement.statistics} == {
        "a layer has 2 neurons, too few for a law of large widths"
    }


def test_what_a_law_says_nothing_of_is_computed_without_it():
    """Fewer than two singular values that are not 0, in some trial."""
    found = measure(Target(lambda: torch_models.gaussian(1, 30, 1.0)), (1,), trials=3, seed=2)
    statistics = {one.name: one for one in found.judged_by(found.law()).statistics}
    assert statistics["mean_log_lambda"].simulation == pytest.approx(2 * found.log_s.mean())
