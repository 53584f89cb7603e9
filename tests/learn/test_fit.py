"""The training loop: what it converges to, averages, records, repeats, and how it fails."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from gflow.learn import (
    MLP,
    NOISE_FEATURES,
    FitError,
    FitStatus,
    ScoreNetwork,
    conditional_error,
    cosine,
    denoising_score_matching,
    fit,
    log_noise_times,
    sigma_squared,
)
from gflow.problems import VP, Gaussian
from tests.learn.test_networks import seeded


class Affine(nn.Module):
    def __init__(self, d_in=2, d_out=2):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(d_out, d_in, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros(d_out, dtype=torch.float64))

    def forward(self, t, x):
        return x @ self.a.T + self.b


class Number(nn.Module):
    def __init__(self, w=1.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))


def adam(lr):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def sgd(lr):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def half_square(module, generator):
    return 0.5 * module.w**2


PATH = VP(0.1, 20.0)
MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=torch.float64)


def test_a_linear_score_is_recovered_from_gaussian_data():
    law, t = Gaussian(MEAN, COVARIANCE), 0.3

    def loss(module, generator):
        z = torch.randn(500, 2, generator=generator, dtype=torch.float64)
        return conditional_error(module, PATH, t, law.sample(500, generator), z).mean()

    found = fit(Affine(), loss, steps=500, optimizer=adam(0.03), ema_decay=0.99, generator=seeded(), rate=cosine).module
    noised = law.at(PATH, t)
    precision = torch.linalg.inv(noised.covariance())
    # 3e5 draws of noise 1/sigma ~ 1.3: standard errors of 3e-3, five of them allowed.
    torch.testing.assert_close(found.a, -precision, rtol=0, atol=0.015)
    torch.testing.assert_close(found.b, precision @ noised.mean(), rtol=0, atol=0.015)


def test_a_network_learns_the_scores_of_all_times():
    law = Gaussian(MEAN, COVARIANCE)
    data = law.sample(4000, seeded(1))
    body = MLP(2, 2, hidden=(32, 32), features=NOISE_FEATURES, generator=seeded(2))
    network = ScoreNetwork(PATH, body, float(data.std(0).mean()))
    kwargs = {"weight": sigma_squared(PATH), "t_min": 1e-2, "times": log_noise_times}
    loss = denoising_score_matching(PATH, data, batch_size=256, **kwargs)
    found = fit(network, loss, steps=400, optimizer=adam(5e-3), ema_decay=0.99, generator=seeded(3), rate=cosine).module

    def error(module, t):
        """In units of the noise, in which the preconditioning makes all times equally hard."""
        x = law.at(PATH, t).sample(1000, seeded(4))
        gap = module(t, x).detach() - law.at(PATH, t).score(x)
        return PATH.sigma(t) * float(gap.square().sum(1).mean().sqrt())

    for t in (0.02, 0.1, 0.4, 1.0):
        assert error(found, t) < 0.05
    assert error(found, 0.1) < 0.2 * error(network, 0.1)


def test_critics_and_velocities_take_the_same_loop():
    def critic_loss(module, generator):
        p = 1 + torch.randn(200, 1, generator=generator, dtype=torch.float64)
        q = torch.randn(200, 1, generator=generator, dtype=torch.float64)
        return nn.functional.softplus(-module(0.0, p)).mean() + nn.functional.softplus(module(0.0, q)).mean()

    def velocity_loss(module, generator):
        x0 = torch.randn(200, 1, generator=generator, dtype=torch.float64)
        return (module(0.0, x0) - (3 * x0 + 1 - x0)).square().mean()

    kwargs = {"steps": 400, "optimizer": adam(0.05), "ema_decay": 0.98, "rate": cosine}
    critic = fit(Affine(1, 1), critic_loss, generator=seeded(), **kwargs).module
    assert float(critic.a.detach()) == pytest.approx(1.0, abs=0.1)  # log p/q = x - 1/2
    assert float(critic.b.detach()) == pytest.approx(-0.5, abs=0.1)
    velocity = fit(Affine(1, 1), velocity_loss, generator=seeded(), **kwargs).module
    assert float(velocity.a.detach()) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_follows_its_formula(decay):
    found = fit(Number(), half_square, steps=20, optimizer=sgd(0.1), ema_decay=decay, generator=seeded())
    weights, average = [0.9**k for k in range(21)], 1.0
    for k in range(1, 21):
        average += (1 - min(decay, (1 + k) / (10 + k))) * (weights[k] - average)
    assert float(found.module.w) == pytest.approx(average, rel=1e-12)
    assert found.status is FitStatus.DONE
    assert found.step == 20


def test_the_rate_is_multiplied_at_each_step():
    seen = []

    def factory(parameters):
        optimizer = torch.optim.SGD(parameters, lr=0.2)
        optimizer.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
        return optimizer

    fit(Number(), half_square, steps=4, optimizer=factory, ema_decay=0.0, generator=seeded(), rate=cosine)
    assert seen == pytest.approx([0.2 * cosine(k / 4) for k in range(4)])
    assert cosine(0.0) == 1.0
    assert cosine(1.0) == 0.0


def noisy(module, generator):
    return (module.w - torch.randn((), generator=generator, dtype=torch.float64)) ** 2


def test_equal_generators_give_equal_results_and_the_global_one_is_left_alone():
    before = torch.random.get_rng_state()
    first, again, other = (
        fit(Number(), noisy, steps=30, optimizer=adam(0.1), ema_decay=0.9, generator=seeded(s), held_out=noisy)
        for s in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.history == again.history
    assert torch.equal(first.module.w, again.module.w)
    assert not torch.equal(first.module.w, other.module.w)


def test_the_argument_is_not_changed_and_the_result_is_frozen():
    module = Number()
    found = fit(module, half_square, steps=3, optimizer=sgd(0.1), ema_decay=0.0, generator=seeded())
    assert float(module.w.detach()) == 1.0
    assert module.w.grad is None
    assert not found.module.w.requires_grad
    assert not found.module.training
    further = fit(found.module, half_square, steps=3, optimizer=sgd(0.1), ema_decay=0.0, generator=seeded())
    assert float(further.module.w) == pytest.approx(0.9**6)


def test_held_out_is_the_loss_of_the_average_on_the_same_draws():
    drawn, weights = [], []

    def held_out(module, generator):
        drawn.append(float(torch.randn((), generator=generator)))
        weights.append(float(module.w))
        return module.w**2

    found = fit(
        Number(), noisy, steps=10, optimizer=sgd(0.1), ema_decay=0.9, generator=seeded(), held_out=held_out, every=4
    )
    assert [r.step for r in found.history] == [0, 4, 8, 10]
    assert len(set(drawn)) == 1
    assert [r.held_out for r in found.history] == [w**2 for w in weights]
    assert found.held_out == pytest.approx(float(found.module.w) ** 2)
    without = fit(Number(), noisy, steps=10, optimizer=sgd(0.1), ema_decay=0.9, generator=seeded(), every=4)
    assert torch.equal(without.module.w, found.module.w)
    assert [r.held_out for r in without.history] == [None] * 4


def test_the_training_loss_is_the_mean_since_the_last_record():
    found = fit(Number(), half_square, steps=5, optimizer=sgd(0.1), ema_decay=0.0, generator=seeded(), every=2)
    losses = [0.5 * 0.81**k for k in range(6)]
    expected = [losses[0], sum(losses[1:3]) / 2, sum(losses[3:5]) / 2, losses[5]]
    assert [r.train for r in found.history] == pytest.approx(expected, rel=1e-12)


def test_l_bfgs_sees_one_batch_per_step():
    batches = []

    def loss(module, generator):
        batches.append(float(torch.randn((), generator=generator)))
        return (module.w - batches[-1]) ** 2

    def lbfgs(parameters):
        return torch.optim.LBFGS(parameters, lr=0.5, max_iter=4)

    found = fit(Number(), loss, steps=3, optimizer=lbfgs, ema_decay=0.0, generator=seeded())
    assert found.status is FitStatus.DONE
    assert len(batches) > 4
    assert len(set(batches)) == 4
    assert batches == sorted(batches, key=list(dict.fromkeys(batches)).index)


def cliff(module, generator):
    """Defined for w > 0.7 only; sgd(0.1) leaves that at its fourth step."""
    return 0.5 * module.w**2 + 0 * (module.w - 0.7).sqrt().detach()


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_loss_that_becomes_nan_keeps_the_last_good_weights(decay):
    kwargs = {"optimizer": sgd(0.1), "ema_decay": decay, "generator": seeded()}
    found = fit(Number(), cliff, steps=50, throw=False, every=1, **kwargs)
    assert found.status is FitStatus.LOSS_NOT_FINITE
    assert found.step == 4  # 0.9^4 = 0.656
    good = fit(Number(), cliff, steps=3, **kwargs)
    assert torch.equal(found.module.w, good.module.w)
    assert [r.step for r in found.history] == [0, 1, 2, 3]
    assert "step 4" in found.message


def test_failure_is_thrown_with_the_result():
    with pytest.raises(FitError, match=r"after step 4: the loss became NaN.*lower the learning rate") as caught:
        fit(Number(), cliff, steps=50, optimizer=sgd(0.1), ema_decay=0.0, generator=seeded())
    assert float(caught.value.result.module.w) == pytest.approx(0.9**3)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.result.status is FitStatus.LOSS_NOT_FINITE


def test_the_last_step_is_judged_too():
    found = fit(Number(), cliff, steps=4, optimizer=sgd(0.1), ema_decay=0.0, generator=seeded(), throw=False)
    assert found.status is FitStatus.LOSS_NOT_FINITE
    assert float(found.module.w) == pytest.approx(0.9**3)


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    module = Number(0.0)
    found = fit(
        module,
        lambda m, g: m.w.abs().sqrt(),
        steps=5,
        optimizer=sgd(0.1),
        ema_decay=0.0,
        generator=seeded(),
        throw=False,
    )
    assert found.status is FitStatus.GRADIENT_NOT_FINITE
    assert found.step == 0
    assert float(found.module.w) == 0.0


def test_float32_is_kept():
    module = copy.deepcopy(Number()).float()
    found = fit(module, half_square, steps=3, optimizer=adam(0.1), ema_decay=0.9, generator=seeded())
    assert found.module.w.dtype == torch.float32


def test_bad_arguments():
    kwargs = {"steps": 3, "optimizer": sgd(0.1), "ema_decay": 0.0, "generator": seeded()}
    for bad, match in (({"steps": 0}, "steps"), ({"every": 0}, "every"), ({"ema_decay": 1.0}, "ema_decay")):
        with pytest.raises(ValueError, match=match):
            fit(Number(), half_square, **(kwargs | bad))
    with pytest.raises(ValueError, match="no parameters"):
        fit(nn.Identity(), half_square, **kwargs)
    with pytest.raises(ValueError, match=r"0-d tensor.*\(2,\)"):
        fit(Number(), lambda m, g: m.w * torch.ones(2), **kwargs)
    with pytest.raises(ValueError, match="requires_grad=False"):
        fit(Number(), lambda m, g: m.w.detach(), **kwargs)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_at_a_risen_held_out_loss_and_keeps_the_lowest_weights(patience):
    """One weight walks through the held-out optimum 1 towards the training optimum 2."""
    module = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(module.weight)

    def off(target):
        return lambda work, _generator: (work.weight - target).square().sum()

    found = fit(
        module,
        off(2.0),
        steps=200,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.02),
        ema_decay=0.0,
        generator=torch.Generator().manual_seed(0),
        held_out=off(1.0),
        every=1,
        patience=patience,
    )
    losses = [record.held_out for record in found.history]
    assert found.status is FitStatus.HELD_OUT
    assert found.kept == losses.index(min(losses)) == found.step - patience
    assert found.held_out == min(losses)
    assert float((found.module.weight - 1.0).square()) == pytest.approx(min(losses), rel=1e-12)


def test_patience_needs_a_held_out_loss():
    with pytest.raises(ValueError, match="patience: needs a held_out loss and at least 1 record, got 2"):
        fit(
            nn.Linear(1, 1),
            lambda work, _generator: work.weight.sum(),
            steps=2,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.02),
            ema_decay=0.0,
            generator=torch.Generator(),
            patience=2,
        )
