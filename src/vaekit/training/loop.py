"""The training loop behind `fit`: players take turns on batches, epoch by epoch."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaekit.data import Batch, Dataset, Split
from vaekit.data.batches import epoch_batches, steps_per_epoch
from vaekit.errors import TrainingError
from vaekit.models.base import Model
from vaekit.objectives import Terms, elbo, reconstruction
from vaekit.objectives.draw import check_terms
from vaekit.training.clock import Clock
from vaekit.training.engine import Accelerator
from vaekit.training.history import History, Record
from vaekit.training.progress import Progress
from vaekit.training.update import Player, restore_gradients

_CHECK_EVERY = 50
"""Steps between checks for a loss that is not finite on a device where reading a number costs a wait."""

_VALIDATION_BATCH = 1024


@dataclass
class Training:
    """One call of `fit` at work. `run` is called in a thread of its own."""

    model: Model
    data: Dataset
    players: list[Player]
    accelerator: Accelerator
    epochs: int
    batch_size: int
    gradient_clip: float | None
    patience: int | None
    seed: int
    progress: Progress
    on_epoch: Callable[[Record], None] | None
    limit: float | None = None
    on_step: Callable[[int, float], None] | None = None
    clock: Clock = field(default_factory=Clock)
    step: int = 0
    waited: int = 0
    history: History = field(default_factory=History)

    def run(self, stop: threading.Event) -> History:
        self.dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        needed = {name: p.requires_grad for name, p in self.model.named_parameters()}
        self.steps = steps_per_epoch(len(self.data.train), self.batch_size)
        self.forwards = [self.accelerator.prepare_model(player) for player in self.players]
        # Accelerate's wrapper looks for an optional package twice a step, a tenth of a small network's step; only the
        # loss scaling of fp16 needs it
        scaled = self.accelerator.scaler is not None
        self.optimizers = [
            self.accelerator.prepare_optimizer(p.optimizer) if scaled else p.optimizer for p in self.players
        ]
        self.good, self.good_epoch, self.best = self._snapshot(), 0, -math.inf
        self.progress.start(self.epochs * self.steps if self.limit is None else None)
        epochs = range(1, self.epochs + 1) if self.limit is None else itertools.count(1)
        try:
            with torch.random.fork_rng():
                for epoch in epochs:
                    self._epoch(epoch, stop)
                    if stop.is_set() or self._finish_epoch(epoch) or self._time_is_up():
                        break
        finally:
            self.progress.stop()
            restore_gradients(self.model, needed)
            self.model.eval()
        if self.patience is not None and not stop.is_set():
            self.model.load_state_dict(self.good)
        return self.history

    def _epoch(self, epoch: int, stop: threading.Event) -> None:
        accelerator = self.accelerator
        share = (accelerator.process_index, accelerator.num_processes)
        # noise is a function of (seed, epoch) and the process, so that an epoch can be repeated on its own
        torch.manual_seed(hash((self.seed, epoch, share[0])) & 0x7FFFFFFF)
        self.model.train()
        self.means = torch.zeros(len(self.players), self.steps, 3, device=accelerator.device)
        self.acted = torch.zeros(len(self.players), self.steps, dtype=torch.bool)
        self.epoch, self.started, self.at, self.seen = epoch, time.perf_counter(), 0, 0
        batches = epoch_batches(
            self.data.train,
            self.batch_size,
            seed=self.seed,
            epoch=epoch,
            device=accelerator.device,
            share=share,
            condition_dim=self.model.condition_dim,
            optional=self.model.condition_optional,
        )
        self.clock.start()
        for batch in batches:
            if stop.is_set():
                return
            self._step(batch.to(accelerator.device, self.dtype))
            if self.progress.due():
                self.progress.step(self.step, epoch, self._so_far())
            if self.on_step is not None:
                self.clock.stop()
                self.on_step(self.step, self.clock.seconds)
                self.clock.start()
            if self._time_is_up() and bool(self.acted[0].any()):
                break
        self.clock.stop()
        self._check_finite()
        self.seconds = time.perf_counter() - self.started

    def _time_is_up(self) -> bool:
        return self.limit is not None and self.clock.seconds >= self.limit

    def _step(self, batch: Batch) -> None:
        for number, player in enumerate(self.players):
            if self.step % player.update.every == 0:
                self.means[number, self.at] = self._turn(number, player, batch)
                self.acted[number, self.at] = True
        self.at, self.step, self.seen = self.at + 1, self.step + 1, self.seen + len(batch.x)
        if self.accelerator.device.type != "cpu" and self.at % _CHECK_EVERY == 0:
            self._check_finite()

    def _turn(self, number: int, player: Player, batch: Batch) -> Tensor:
        """One player's step; returns the batch's mean (loss, rate, distortion), (3,)."""
        player.take_turn(self.step)
        optimizer = self.optimizers[number]
        for group in optimizer.param_groups:
            group["lr"] = player.learning_rate(self.step)
        optimizer.zero_grad(set_to_none=True)
        terms: Terms = self.forwards[number](batch, player.keywords(self.step))
        if self.at == 0:
            check_terms(terms, len(batch.x), player.update.name)
        with torch.no_grad():
            means = torch.stack((terms.loss, terms.rate, terms.distortion)).mean(1)
        if means.device.type == "cpu" and not math.isfinite(means[0].item()):
            self._fail(_bad_term(means), self.step)
        loss = terms.loss.mean()
        self.accelerator.backward(loss * self._share_of(batch) if self.accelerator.num_processes > 1 else loss)
        if self.gradient_clip is not None:
            self.accelerator.clip_grad_norm_(player.moved, self.gradient_clip)
        optimizer.step()
        if player.update.after is not None:
            with torch.no_grad():
                player.update.after(self.model)
        return means

    def _share_of(self, batch: Batch) -> float:
        """This process's rows as a part of the batch, times the number of processes: gradients are averaged over them."""
        start = self.at * self.batch_size
        whole = min(self.batch_size, len(self.data.train) - start)
        return len(batch.x) * self.accelerator.num_processes / whole

    def _check_finite(self) -> None:
        finite = torch.isfinite(self.means[:, : self.at]).all(-1)
        if not bool(finite.all()):
            row = int(torch.nonzero(~finite.all(0))[0])
            player = int(torch.nonzero(~finite[:, row])[0])
            self._fail(_bad_term(self.means[player, row]), self.step - self.at + row)

    def _fail(self, what: str, step: int) -> None:
        self.model.load_state_dict(self.good)
        kept = f"the weights of epoch {self.good_epoch}" if self.good_epoch else "the initial weights"
        raise TrainingError(
            f"training failed: {what} at step {step} (epoch {self.epoch}); {kept} are kept; "
            "lower the learning rate or set a gradient clip"
        )

    def _finish_epoch(self, epoch: int) -> bool:
        """Validate, record, remember good weights; True where patience is at its end."""
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            self._fail("a weight is not finite", self.step - 1)
        record = self._record(epoch)
        score = record.get("validation_elbo", -record.get("validation_distortion", math.inf))
        settled = self._settled()
        self.waited += settled
        if self.patience is None or (score > self.best if settled else self.best == -math.inf):
            self.good, self.good_epoch = self._snapshot(), epoch
            self.best, self.waited = (score, 0) if settled else (self.best, self.waited)
        self.history.records.append(record)
        self.history.best_epoch = self.good_epoch
        if self.on_epoch is not None and self.accelerator.is_main_process:
            self.on_epoch(record)
        return self.patience is not None and self.waited >= self.patience

    def _settled(self) -> bool:
        """Whether the scheduled keywords are where they end. On the way there, in a warm-up or within a cycle, the bound falls
        and rises for other reasons than those for which training is stopped."""
        last = max(self.epochs * self.steps, self.step) - 1
        return self.players[0].keywords(self.step - 1) == self.players[0].keywords(last)

    def _record(self, epoch: int) -> Record:
        sizes = torch.full((self.steps,), float(self.batch_size), dtype=torch.float64)
        sizes[-1] = len(self.data.train) - (self.steps - 1) * self.batch_size
        weights = sizes * self.acted  # a player that rests at a step says nothing of it
        means = self.accelerator.reduce(self.means, "mean") if self.accelerator.num_processes > 1 else self.means
        means = (means.double().cpu() * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        loss, rate, distortion = means[0].tolist()
        record: Record = {"epoch": epoch, "step": self.step, "train_loss": loss}
        if self._bounded:
            record |= _figures("train", rate, distortion, self.model.has_likelihood)
        named = zip(self.players, means[:, 0].tolist(), strict=True)
        record |= {f"train_{p.update.name}_loss": own for p, own in named if p.update.name and math.isfinite(own)}
        record |= self._validate()
        record |= {
            **self.players[0].keywords(self.step - 1),
            "learning_rate": self.players[0].learning_rate(self.step - 1),
        }
        speed = self.seen * self.accelerator.num_processes / self.seconds
        return record | {"seconds": round(self.seconds, 4), "examples_per_second": round(speed)}

    @torch.no_grad()
    def _validate(self) -> Record:
        """Always the bound itself, beta = 1, one draw, whatever is trained; the draws are the same at every epoch.
        Beside it, or in its place, what the players watch."""
        split = self.data.validation
        if split is None:
            return {}
        self.model.eval()
        torch.manual_seed(self.seed & 0x7FFFFFFF)
        fixed, sums = split.fixed(self.seed), dict[str, float]()
        for start in range(0, len(fixed), _VALIDATION_BATCH):
            for name, values in self._held_out(self._rows(fixed, slice(start, start + _VALIDATION_BATCH))).items():
                sums[name] = sums.get(name, 0.0) + float(values.double().sum())
        means = {name: total / len(split) for name, total in sums.items()}
        if not self._bounded:
            return {f"validation_{name}": value for name, value in means.items()}
        bound = _figures("validation", means.pop("rate"), means.pop("distortion"), self.model.has_likelihood)
        return bound | {f"validation_{name}": value for name, value in means.items()}

    def _rows(self, split: Split, index: slice) -> Batch:
        dim = 0 if self.model.condition_optional else self.model.condition_dim
        rows = Batch(split.rows(index), split.condition(index, dim))
        return rows.to(self.accelerator.device, self.dtype)

    def _held_out(self, batch: Batch) -> dict[str, Tensor]:
        """Figures of each row of a batch by name, (B,)."""
        found = {}
        if self._bounded:
            terms = (elbo if self.model.has_likelihood else reconstruction)(self.model, batch)
            found = {"rate": terms.rate, "distortion": terms.distortion}
        for player in self.players:
            found |= {} if player.update.watch is None else player.update.watch(self.model, batch)
        return found

    @property
    def _bounded(self) -> bool:
        """Whether the training is followed by a bound, or a distortion: not where the first player watches other things."""
        return self.players[0].update.watch is None

    def _so_far(self) -> dict[str, float]:
        """The epoch's means until now, for the progress bar."""
        if self._bounded:
            _, rate, distortion = self.means[0, self.acted[0]].mean(0).tolist()
            bound = {"ELBO": -(rate + distortion), "rate": rate} if self.model.has_likelihood else {}
            return bound | {"distortion": distortion}
        parts = zip(self.players, self.means, self.acted, strict=True)
        return {p.update.name: float(means[acted, 0].mean()) for p, means, acted in parts if p.update.name}

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}


def _bad_term(means: Tensor) -> str:
    """The first of a batch's mean (loss, rate, distortion) that is not finite, with its value."""
    values = dict(zip(("loss", "rate", "distortion"), means.tolist(), strict=True))
    term = next((name for name in ("distortion", "rate") if not math.isfinite(values[name])), "loss")
    return f"{term} is {values[term]}"


def _figures(name: str, rate: float, distortion: float, likelihood: bool) -> Record:
    if not likelihood:
        return {f"{name}_distortion": distortion}
    return {f"{name}_elbo": -(rate + distortion), f"{name}_rate": rate, f"{name}_distortion": distortion}
