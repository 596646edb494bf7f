"""A query method ready for use: built from a spec string, with its needs known and its results checked."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fathom.core.member_call import guard
from fathom.core.records import FathomError, NonFiniteError, NonFiniteScoreError
from fathom.core.streams import Stream
from fathom.query.sampling import SAMPLINGS, sample_by_rule
from fathom.query.view import LABELED, PoolView, Selection, concatenate
from fathom.registry.registry import QUERY_PARAMETERS, find

MOST_DRAWS = 10_000  # the predictions of a pool are kept for every draw


@dataclass(frozen=True)
class QueryMethod:
    """One query method with its parameters.

    Args:
        text: Canonical spec string, for example `bald(draws=20, subsample=10000)`.
        kind: `score` (one number per sample, chunk by chunk) or `selection` (sees the whole pool).
        draws: Dropout draws it needs (k); 0 for the plain softmax (k = 1).
        features: Which features of the pool it needs: `last` (input of the last linear layer), `encoder` (the
            encoder's output), or empty for none.
        labeled: True if it needs features and classes of the labeled samples.
        predictions: False if it does not need the classifier at all.
        dropout: Of the classifier it is run with: `auto` for the paradigm's rule, or a probability.
        function: The registered function with its own parameters set.
        subsample: Number of random samples of the pool that are considered at all; 0 for all.
        sampling, beta, stratify: How scores become a batch (see `query.sampling.sample_by_rule`).
    """

    text: str
    kind: str
    draws: int
    features: str
    labeled: bool
    predictions: bool
    function: Callable[..., Any] = field(repr=False)
    dropout: str | int | float = "auto"
    subsample: int = 0
    sampling: str = "top"
    beta: float = 1.0
    stratify: bool = False

    def candidates(self, n: int, stream: Stream) -> Int[Tensor, "b"] | None:
        """Sorted positions that have to be predicted at all; None for the whole pool of `n`."""
        if not 0 < self.subsample < n:
            return None
        order = torch.randperm(n, generator=stream.at("subsample").torch())
        return order[: self.subsample].sort().values

    def select(self, chunks: Iterable[PoolView], size: int, stream: Stream) -> Selection:
        """Choose the samples to label next.

        A score is applied to one chunk at a time and only its numbers are kept, so a pool may be larger than memory; a
        selection gets all chunks as one view. The scores of a score method are returned without the noise of sampling.

        Args:
            chunks: Views that divide the pool in order; their labeled parts are equal.
            size: Query size, 1 to n samples.
            stream: Random stream of the choice, its ties and noise.

        Returns:
            `size` distinct positions in the pool, in the order they were picked.

        Raises:
            NonFiniteError: A score or an input of it is not finite; nothing is selected.
            FathomError: The pool is too small, or the method broke its contract.
        """
        with _exact_arithmetic():
            if self.kind == "selection":
                return self._select_whole(list(chunks), size, stream)
            scores, strata, spread = [], [], False
            for view in chunks:
                scores.append(self._scores(view))
                spread = spread or self._draws_differ(view)
                if self.stratify:
                    strata.append(view.mean_probs().argmax(1))
            self._check_size(size, sum(len(s) for s in scores))
            self._expect_spread(spread)
            joined, classes = torch.cat(scores), torch.cat(strata) if self.stratify else None
            picked = sample_by_rule(joined, size, stream, sampling=self.sampling, beta=self.beta, strata=classes)
            constant = size < len(joined) and bool((joined == joined[0]).all())
            note = f"{self.text} gave all samples one score: its picks are random" if constant else ""
            return Selection(picked.positions, picked.scores, note)

    def _scores(self, view: PoolView) -> Tensor:
        self._check_view(view)
        versions = _versions(view)
        scores = self._call(view)
        self._check_untouched(view, versions)
        if not isinstance(scores, Tensor) or scores.shape != (len(view),) or not scores.is_floating_point():
            raise FathomError(f"{self.text} must return one floating-point number for each of {len(view)} samples; "
                              f"got {_describe(scores)}")  # fmt: skip
        if scores.device != view.device:
            raise FathomError(f"{self.text} must return its scores on {view.device}; they are on {scores.device}")
        if bad := int((~torch.isfinite(scores)).sum()):
            raise NonFiniteScoreError(
                f"{self.text}: {bad} of {len(view)} scores are not finite, nothing was selected. "
                "Check the classifier's training (loss, learning rate), or the score where a probability is 0"
            )
        return scores

    def _call(self, view: PoolView, *more: Any) -> Any:
        """Call the function on what it declared, with the guard of plug-ins."""
        shown = view.declared(self.text, self.kind, self._needs)
        with guard(self.text):
            return self.function(shown, *more)

    @property
    def _needs(self) -> set[str]:
        """Fields of the view that the method has declared."""
        needs = {"log_probs": self.predictions, "features": bool(self.features)}
        return {f for f, needed in (needs | dict.fromkeys(LABELED, self.labeled)).items() if needed}

    def _select_whole(self, chunks: list[PoolView], size: int, stream: Stream) -> Selection:
        self._check_size(size, sum(len(view) for view in chunks))
        view = concatenate(chunks)
        chunks.clear()  # frees their memory: `view` is a copy
        self._check_view(view)
        self._expect_spread(self._draws_differ(view))
        versions = _versions(view)
        picked = self._call(view, size, stream)
        self._check_untouched(view, versions)
        scores = picked.scores if isinstance(picked, Selection) else None
        positions = picked.positions if isinstance(picked, Selection) else picked
        positions = self._check_positions(positions, size, view)
        if scores is None:
            return Selection(positions)
        if not isinstance(scores, Tensor) or scores.shape != positions.shape or scores.device != view.device:
            raise FathomError(
                f"{self.text} must return {size} scores on {view.device} or none; got {_describe(scores)}"
            )
        if bad := int((~torch.isfinite(scores)).sum()):
            raise NonFiniteScoreError(
                f"{self.text}: the scores of {bad} of {size} picks are not finite, nothing was selected"
            )
        return Selection(positions, scores)

    def _check_positions(self, positions: Any, size: int, view: PoolView) -> Tensor:
        """Check that positions are `size` distinct rows of the view; gives them as int64."""
        if not isinstance(positions, Tensor) or positions.ndim != 1 or positions.device != view.device:
            raise FathomError(
                f"{self.text} must return a 1-d tensor of positions on {view.device}; got {_describe(positions)}"
            )
        if positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool:
            raise FathomError(f"{self.text} must return integer positions; got {positions.dtype}")
        if len(positions) != size:
            raise FathomError(f"{self.text} must return exactly {size} positions; got {len(positions)}")
        rows: Tensor = positions.long()
        if outside := int(((rows < 0) | (rows >= len(view))).sum()):
            raise FathomError(f"{self.text} must return positions from 0 to {len(view) - 1}; {outside} lie outside")
        if twice := size - len(torch.unique(rows)):
            raise FathomError(f"{self.text} must return distinct positions; {twice} of {size} are repetitions")
        return rows

    def _check_size(self, size: int, n: int) -> None:
        if size < 1:
            raise FathomError(f"{self.text}: the query size must be at least 1 sample; got {size}")
        if size > n:
            hint = f" Only {self.subsample} were considered (subsample)." if 0 < self.subsample == n else ""
            raise FathomError(f"{self.text}: cannot query {size} samples from a pool of {n}.{hint} Ask for at most {n}")

    def _check_view(self, view: PoolView) -> None:
        """Check that the view has what the method needs, without NaN."""
        n, k, _ = view.log_probs.shape
        if self.predictions and k != max(1, self.draws):
            raise FathomError(f"{self.text} needs {max(1, self.draws)} draws of each prediction; the view has {k}")
        needed = {"features": self.features, "labeled_features": self.labeled and len(view.labeled_features) > 0}
        for part in (name for name, need in needed.items() if need):
            tensor = getattr(view, part)
            if tensor.shape[1] == 0 or (bool(self.features) and tensor.shape[1] != view.features.shape[1]):
                raise FathomError(f"{self.text} needs {part} of the classifier; the view has {list(tensor.shape)}")
            if bad := int((~torch.isfinite(tensor)).any(1).sum()):
                raise NonFiniteError(
                    f"{self.text}: {bad} of {len(tensor)} rows of {part} are not finite, nothing selected"
                )
        if self.predictions and (bad := int(view.log_probs.isnan().flatten(1).any(1).sum())):
            raise NonFiniteError(f"{self.text}: the predictions of {bad} of {n} samples are NaN, nothing was selected")

    def _draws_differ(self, view: PoolView) -> bool:
        """True if the draws of some sample differ; the first rows nearly always show it."""
        if not self.draws or not self.predictions:
            return True
        draws = view.log_probs
        return any(bool((rows != rows[:, :1]).any()) for rows in (draws[:64], draws))

    def _expect_spread(self, spread: bool) -> None:
        """Refuse a pool in which all draws of every sample are equal: the picks would be rounding errors."""
        if not spread:
            raise FathomError(
                f"{self.text} compares dropout draws, and all {self.draws} draws of every sample are equal: the "
                "classifier has no dropout. fathom.testing.check_paradigm shows where its paradigm ignores it"
            )

    def _check_untouched(self, view: PoolView, versions: list[int]) -> None:
        if _versions(view) != versions:
            raise FathomError(f"{self.text} changed its view in place; it must work on copies")


def build_query(text: str) -> QueryMethod:
    """The query method of a spec string, for example `bald(draws=20, sampling=power)`.

    Raises:
        FathomError: Unknown name or parameter, or a value that the method cannot have.
    """
    entry, call = find("query", text)
    kind, needed = entry.options["method"], int(entry.options.get("draws", 0))
    common = QUERY_PARAMETERS[kind] | {"draws": needed}
    given: dict[str, Any] = dict(call.arguments)
    settings: dict[str, Any] = {name: given.get(name, default) for name, default in common.items()}
    _check_settings(text, settings, needed)
    function = entry.load()
    own = {name for name, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}
    if taken := sorted(own & set(common)):
        raise FathomError(f"query method {entry.name!r}: rename its {', '.join(taken)}, which every {kind} method has")
    return QueryMethod(
        text=str(call),
        kind=kind,
        features={False: "", True: "last"}.get(layer := entry.options.get("features", False), str(layer)),
        labeled=bool(entry.options.get("labeled", False)),
        predictions=bool(entry.options.get("predictions", True)),
        function=partial(function, **{name: value for name, value in given.items() if name in own}),
        **settings,
    )


def _check_settings(text: str, settings: dict[str, Any], needed: int) -> None:
    """Check the settings that every method has.

    A value without effect is refused: it would give a second key to the same run.
    """
    draws, subsample, beta = settings["draws"], settings["subsample"], settings.get("beta", 1.0)
    if needed == 0 and draws != 0:
        raise FathomError(
            f"{text}: draws is for methods that need dropout draws; this one uses the plain softmax. Leave it out"
        )
    if needed > 0 and (draws is None or not 2 <= draws <= MOST_DRAWS):
        raise FathomError(
            f"{text}: draws must be at least 2, since the method compares draws, and at most {MOST_DRAWS:,}; "
            f"got {draws}"
        )
    dropout = settings["dropout"]
    if dropout != "auto" and (not isinstance(dropout, int | float) or not 0 <= dropout < 1):
        raise FathomError(f"{text}: dropout is that of its classifier: auto or a probability in [0, 1); got {dropout}")
    if needed > 0 and dropout == 0:
        raise FathomError(f"{text}: the method compares dropout draws, and without dropout all draws are equal")
    if subsample is None or subsample < 0:
        raise FathomError(f"{text}: subsample must be a number of samples, or 0 for the whole pool; got {subsample}")
    if settings.get("sampling", "top") not in SAMPLINGS:
        raise FathomError(f"{text}: unknown sampling {settings['sampling']!r}. Expected one of: {', '.join(SAMPLINGS)}")
    if beta is None or not beta > 0:
        raise FathomError(f"{text}: beta must be above 0; got {beta}")
    if settings.get("sampling", "top") == "top" and beta != 1.0:
        raise FathomError(
            f"{text}: beta has no effect on sampling=top; choose power, softmax or softrank, or leave it out"
        )
    if settings.get("stratify", False) is None:
        raise FathomError(f"{text}: stratify must be true or false")


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Work without gradients, autocast and TF32, whatever training has set.

    Squared distances are differences of large sums: with the 10 bits of TF32 near points become equal.

    torch has two switches, `set_float32_matmul_precision` for all backends and `fp32_precision` of each. A product on
    CUDA raises where they disagree, so both are set here, and afterwards both are as they were.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]  # not in stubs
    precisions = [backend.fp32_precision for backend in backends]
    try:
        common = torch.get_float32_matmul_precision()
    except RuntimeError:  # they disagree already: the first is then the other of what the second says
        common = "highest" if "tf32" in precisions or "bf16" in precisions else "high"
    autocast = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    try:
        torch.set_float32_matmul_precision("highest")
        for kind in autocast:
            torch.set_autocast_enabled(kind, False)
        with torch.no_grad():
            yield
    finally:
        for kind in autocast:
            torch.set_autocast_enabled(kind, True)
        torch.set_float32_matmul_precision(common)
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision


def _versions(view: PoolView) -> list[int]:
    """Torch's counts of in-place changes; inference tensors have none, and cannot be changed outside inference mode."""
    tensors = (view.log_probs, view.features, view.labeled_features, view.labeled_labels)
    return [-1 if t.is_inference() else t._version for t in tensors]


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)} on {value.device}"
    return type(value).__name__
