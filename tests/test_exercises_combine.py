"""Chapter 5's exercises: other right answers, and wrong ones as learners write them."""

import copy
import inspect
import math
import random

import numpy as np
import pytest
import torch
from scipy import stats

from vaetl_helpers import study
from vaetl_helpers.exercises import attempt, check, combine, evaluate, get, pack, unpack


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny problems
    yield
    torch.set_num_threads(before)


@torch.inference_mode()
def features_of_a_copy(model, images):
    return copy.deepcopy(model).eval().encode(images).mean


def features_of_the_encoder(model, images):
    modes = {name: module.training for name, module in model.named_modules()}
    try:
        model.encoder.eval()
        return model.encoder(images)[0].detach().double()
    finally:
        for name, module in model.named_modules():
            module.training = modes[name]


def features_one_by_one(model, images):
    before = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad():
        rows = [model.encode(image[None])[0] for image in images]
    for module in before:
        module.training = True
    return torch.cat(rows).numpy()


def labels_by_numpy(labels, per_class, draws, seed):
    rng, labels = np.random.default_rng(seed), labels.numpy()
    table = []
    for name in sorted(set(labels.tolist()), reverse=True):
        members = rng.permutation(np.flatnonzero(labels == name))
        if members.size < draws * per_class:
            raise ValueError("too few")
        table.append(members[-draws * per_class :].reshape(per_class, draws))
    return tuple(np.concatenate(table).T)


def labels_one_after_the_other(labels, per_class, draws, seed):
    generator, taken, hands = (
        torch.Generator().manual_seed(seed),
        torch.zeros(len(labels), dtype=torch.bool),
        [],
    )
    for _ in range(draws):
        hand = []
        for name in labels.unique():
            left = torch.where((labels == name) & ~taken)[0]
            if len(left) < per_class:
                raise ValueError("the class is used up")
            hand += left[torch.randperm(len(left), generator=generator)[:per_class]].tolist()
        taken[hand] = True
        hands.append(sorted(hand))
    return hands


def labels_by_the_package(labels, per_class, draws, seed):
    try:
        drawn = study.draw_labels(labels, per_class, draws, seed, disjoint="always")
        return [draw.indices for draw in drawn]
    except Exception as error:
        raise ValueError(str(error)) from error


def interval_by_ttest(a, b):
    test = stats.ttest_rel(a, b)
    return np.array([(a - b).mean().item(), *test.confidence_interval(0.95)])


def interval_by_hand(a, b):
    pairs = [float(x - y) for x, y in zip(a, b, strict=True)]
    n, mean = len(pairs), math.fsum(pairs) / len(pairs)
    variance = sum((x - mean) ** 2 for x in pairs) / (n - 1)
    low, high = stats.t.interval(0.95, df=n - 1, loc=mean, scale=math.sqrt(variance / n))
    return [mean, low, high]


def interval_by_the_package(a, b):
    effect = study.effect_of(a - b)
    return torch.tensor([effect.effect, effect.low, effect.high], dtype=torch.float32)


def verdict_the_other_way_round(low, high, n, delta):
    if n >= 5:
        if low > 0 or high < 0:
            return "supported" if low > 0 else "contradicted"
        if max(-low, high) < delta:
            return "no gain"
    return "undecided"


def verdict_by_the_package(low, high, n, delta):
    nan = float("nan")
    facts = {"sd": nan, "se": nan, "df": nan, "label": ""}
    return study.verdict(
        study.Effect(effect=(low + high) / 2, low=low, high=high, n=n, **facts), delta
    )


def study_with_a_loop(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    keep = [not any(torch.equal(image, other) for other in test[0]) for image in unlabelled]
    encode = pretrain(
        torch.stack([image for image, kept in zip(unlabelled, keep, strict=True) if kept])
    )
    codes, labels = encode(train[0]), train[1]
    mean, std = codes.mean(0), codes.std(0, correction=0)  # of all training images
    accuracies = torch.zeros(len(draws))
    for place, draw in enumerate(draws):
        best = -1
        for alpha in alphas:
            probe = fit((codes[draw] - mean) / std, labels[draw], alpha)
            hits = (probe((encode(validation[0]) - mean) / std) == validation[1]).sum()
            if hits > best:
                best = hits
                accuracies[place] = (
                    (probe((encode(test[0]) - mean) / std) == test[1]).float().mean()
                )
    return 100 * accuracies


def study_by_broadcasting(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    encode = pretrain(unlabelled[~(unlabelled[:, None] == test[0]).all(-1).any(-1)])

    def of_one(draw):
        def seen(images):
            return (encode(images) - known.mean(0)) / known.std(0)

        known = torch.cat([encode(train[0][draw]), encode(validation[0])])
        probes = [fit(seen(train[0][draw]), train[1][draw], alpha) for alpha in alphas]
        best = max(
            probes, key=lambda probe: int((probe(seen(validation[0])) == validation[1]).sum())
        )
        return float((best(seen(test[0])) == test[1]).double().mean() * 100)

    return tuple(of_one(draw) for draw in draws)


RIGHT = (
    ("features", features_of_a_copy),
    ("features", features_of_the_encoder),
    ("features", features_one_by_one),
    ("few_labels", labels_by_numpy),
    ("few_labels", labels_one_after_the_other),
    ("few_labels", labels_by_the_package),
    ("paired_interval", interval_by_ttest),
    ("paired_interval", interval_by_hand),
    ("paired_interval", interval_by_the_package),
    ("verdict", verdict_the_other_way_round),
    ("verdict", verdict_by_the_package),
    ("leakage", study_with_a_loop),
    ("leakage", study_by_broadcasting),
)


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_other_right_answers_are_correct(name, function):
    outcome = evaluate(get(f"combine.{name}"), function, range(8))
    assert outcome.status == "correct", outcome


def features_by_hidden_layer(model, images):
    with torch.no_grad():
        return copy.deepcopy(model).eval().encoder.body(images)


def features_with_noise_of_its_own(model, images):
    mean = combine.features(model, images)
    return mean + 0.3 * torch.rand_like(mean)


def features_that_train(model, images):
    model.encode(images).mean.sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
    return combine.features(model, images)


def labels_of_the_whole_pool(labels, per_class, draws, seed):
    size = per_class * len(labels.unique())
    drawn = random.Random(seed).sample(range(len(labels)), draws * size)
    return [drawn[start : start + size] for start in range(0, draws * size, size)]


def labels_by_masks(labels, per_class, draws, seed):
    size = range(len(labels))
    return [
        torch.tensor([i in row for i in size])
        for row in combine.few_labels(labels, per_class, draws, seed)
    ]


def labels_with_assertion(labels, per_class, draws, seed):
    assert all((labels == name).sum() >= per_class * draws for name in labels.unique())
    return combine.few_labels(labels, per_class, draws, seed)


def labels_with_half_the_seed(labels, per_class, draws, seed):
    return combine.few_labels(labels, per_class, draws, seed // 2)


def labels_by_numpy_globally(labels, per_class, draws, seed):
    np.random.seed(seed)
    return labels_by_numpy(labels, per_class, draws, np.random.randint(2**31))


def interval_of_all_pairs(a, b):
    effect, low, high = combine.paired_interval(a, b)
    return effect, effect - 2 * (effect - low), high + (high - effect)


def verdict_of_a_believer(low, high, n, delta):
    return "supported" if high > 0 and n > 4 else "undecided"


def verdict_by_p(low, high, n, delta):
    word = combine.verdict(low, high, n, delta)
    return "no gain" if word == "undecided" and n >= 5 else word


def study_on_shuffled_labels(pretrain, fit, unlabelled, train, *others):
    return combine.honest_study(pretrain, fit, unlabelled, (train[0], train[1].flip(0)), *others)


def study_with_other_draws(pretrain, fit, unlabelled, train, validation, test, draws, alphas):
    draws = [torch.randperm(len(train[0]))[: len(draw)] for draw in draws]
    return combine.honest_study(pretrain, fit, unlabelled, train, validation, test, draws, alphas)


def study_that_promises(*args):
    return [100.0] * len(args[-2])


WRONG = (
    ("features", features_by_hidden_layer, "expected a float tensor of shape"),
    ("features", features_with_noise_of_its_own, "not the posterior means"),
    ("features", features_that_train, "not the posterior means"),
    ("features", lambda model, images: model.encode(images), "the mean alone"),
    ("features", lambda model, images: None, "is a return missing?"),
    ("few_labels", labels_of_the_whole_pool, "draw from each class apart"),
    ("few_labels", labels_by_masks, "whole numbers"),
    ("few_labels", labels_with_half_the_seed, "another seed gives the same draws"),
    ("few_labels", labels_by_numpy_globally, "the global random numbers moved"),
    (
        "few_labels",
        lambda *args: torch.stack(combine.few_labels(*args)).double(),
        "a list of index tensors",
    ),
    ("few_labels", lambda *args: combine.few_labels(*args)[1:], "indices were expected, got"),
    (
        "few_labels",
        lambda *args: [row - 100 for row in combine.few_labels(*args)],
        "whole numbers from 0 to",
    ),
    ("paired_interval", interval_of_all_pairs, "the ends are not effect ±"),
    (
        "paired_interval",
        lambda a, b: (0.0, *combine.paired_interval(a, b)[1:]),
        "not the mean of a - b",
    ),
    (
        "paired_interval",
        lambda a, b: combine.paired_interval(a, b)[1:],
        "three numbers (effect, low, high)",
    ),
    ("paired_interval", lambda a, b: (math.nan, 0.0, 1.0), "NaN or infinity"),
    ("verdict", verdict_of_a_believer, "where 0 is inside, or an end, nothing is claimed"),
    ("verdict", verdict_by_p, '"no gain" for every interval that spans 0'),
    (
        "verdict",
        lambda *args: combine.verdict(*args).title(),
        "one of supported, contradicted, no gain, undecided",
    ),
    ("verdict", lambda *args: None, "is a return missing?"),
    ("verdict", lambda *args: "undecided", "where 0 is inside"),
    ("leakage", study_on_shuffled_labels, "not the accuracies of the probe"),
    ("leakage", study_with_other_draws, "not the accuracies of the probe"),
    ("leakage", study_that_promises, "not all the others"),
    ("leakage", lambda *args: combine.honest_study(*args)[:-1], "the accuracies: expected"),
    ("leakage", lambda *args: None, "is a return missing?"),
)


@pytest.mark.parametrize(("name", "function", "says"), WRONG)
def test_hand_written_wrong_answers_are_named(name, function, says):
    for seed in range(3):
        outcome = evaluate(get(f"combine.{name}"), function, [seed])
        assert outcome.status == "incorrect" and says in outcome.message, outcome


def test_every_wrong_answer_is_told_in_words():
    for exercise in combine.EXERCISES:
        for wrong in exercise.wrong:
            message = evaluate(exercise, wrong.function, [7]).message
            assert len(message.split()) > 3 and not message.endswith((":", ",", "expected")), (
                message
            )


@pytest.mark.parametrize("exercise", combine.EXERCISES, ids=lambda exercise: exercise.id)
def test_crashes_and_stubs_are_told_apart(exercise, capsys):
    def broken(*args):
        raise KeyError("oh no")

    assert check(exercise.id, broken) is exercise.reference
    assert "crashed: KeyError: 'oh no' (line 2 of broken: raise KeyError" in capsys.readouterr().out
    assert check(exercise.id, lambda *args: ...) is exercise.reference
    assert capsys.readouterr().out.startswith(f"[--] {exercise.id}: not attempted")
    assert check(exercise.id, exercise.reference) is exercise.reference
    assert capsys.readouterr().out.startswith(f"[ok] {exercise.id}: correct")


def test_another_exception_than_the_one_asked_for_is_a_crash():
    outcome = evaluate(get("combine.few_labels"), labels_with_assertion)
    assert outcome.status == "crashed" and "AssertionError" in outcome.message


def test_gradients_switched_off_for_good_do_not_leave_the_check():
    function = next(wrong.function for wrong in combine.FEATURES if wrong.name == "switched off")
    evaluate(get("combine.features"), function)
    assert torch.is_grad_enabled()


def test_the_reference_interval_is_the_known_one():
    for seed in range(5):
        inputs = get("combine.paired_interval").draw(seed)
        expected = stats.ttest_rel(inputs["a"], inputs["b"]).confidence_interval()
        assert combine.paired_interval(inputs["a"], inputs["b"])[1:] == pytest.approx(
            (expected.low, expected.high)
        )


def test_verdicts_are_those_of_the_ledger():
    """The exercise and the study judge every drawn interval alike, and every word comes up."""
    words = set()
    for seed in range(4):
        inputs = get("combine.verdict").draw(seed)
        for low, high, n in inputs["rows"].tolist():
            word = combine.verdict(low, high, n, inputs["delta"])
            assert word == verdict_by_the_package(low, high, n, inputs["delta"])
            words.add(word)
    assert words == set(combine.WORDS)


@pytest.mark.parametrize("seed", range(4))
def test_labels_and_outputs_of_a_forged_answer_are_refused(seed):
    """Draws that are right but for one image, as a process that is not trusted might send them."""
    exercise = get("combine.few_labels")
    inputs = exercise.draw(seed)
    outputs = unpack(attempt(exercise, combine.few_labels, pack(inputs)))
    assert exercise.judge(inputs, outputs) is None
    for name in (combine.FIRST, combine.AGAIN, combine.OTHERS):
        forged = outputs[name].clone()
        forged.flatten()[0] = forged.flatten()[1]
        assert exercise.judge(inputs, outputs | {name: forged}), name


def test_the_leaky_study_has_copies_of_test_images_and_its_repair_has_none():
    for seed in range(4):
        inputs = get("combine.leakage").draw(seed)
        leaky = next(wrong.function for wrong in combine.LEAKS if wrong.name == combine.NAMES[-1])
        found, repaired = (
            combine._drive_study(function, inputs) for function in (leaky, combine.honest_study)
        )
        assert found[combine.COPIED] >= 20 and repaired[combine.COPIED] == 0
        assert found[combine.FRESH] == repaired[combine.FRESH] == 40


def test_the_chosen_alpha_of_the_leaky_study_is_never_worse_on_the_test_set():
    """Choosing on the test labels can only raise the accuracy that is told."""
    chosen = next(wrong.function for wrong in combine.LEAKS if wrong.name == combine.BUGS[2][0])
    gains = []
    for seed in range(4):
        inputs = get("combine.leakage").draw(seed)
        told, honest = (
            combine._drive_study(f, inputs)[combine.ACCURACIES]
            for f in (chosen, combine.honest_study)
        )
        assert (told >= honest).all()
        gains.append((told - honest).max().item())
    assert max(gains) > 0


def test_a_leak_is_named_together_with_the_others_that_are_left():
    every = [combine.BUGS[number][0] for number in range(3)]
    for wrong in combine.LEAKS:
        told = [name for name in every if name in wrong.says]
        if told:
            message = evaluate(get("combine.leakage"), wrong.function, [11]).message
            assert message == f"still in it: {'; '.join(told)}"


def test_solutions_are_short_and_need_nothing_but_what_they_show():
    for exercise in combine.EXERCISES:
        source = inspect.getsource(exercise.reference)
        assert len(source.splitlines()) <= 25 and "_array" not in source and "inputs[" not in source
