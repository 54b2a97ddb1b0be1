"""What to change about each sickness, most likely first."""

from typing import Literal

Kind = Literal[
    "constant actions",
    "complete collapse",
    "slow features",
    "nuisance features",
    "dimensional collapse",
    "dead actions",
    "no velocity",
    "agent-only latent",
    "blind predictor",
    "lost data",
    "healthy",
]

REMEDIES: dict[Kind, tuple[str, ...]] = {
    "constant actions": (
        "Collect again with a policy that varies its actions: no model can learn what actions do from one action.",
    ),
    "complete collapse": (
        "Turn an anti-collapse term on or raise its weight: SIGReg (0.1 is a good start) or VICReg's variance (1).",
        "Turn on inverse dynamics (weight 1): an EMA target with stop-gradient alone does not keep a small "
        "world model from collapsing.",
        "Lower the learning rate, if it was raised above the recipe's.",
    ),
    "slow features": (
        "Raise the weight of inverse dynamics (to 10): variance terms and SIGReg are content with what "
        "differs between episodes, inverse dynamics is not.",
        "Set the weight of time similarity to 0: it rewards a latent that never changes.",
        "Collect more movement within each episode: longer and more directed ones.",
    ),
    "nuisance features": (
        "Raise the weight of inverse dynamics: the latent follows something that actions do not control, "
        "such as a noisy background.",
        "Train for more steps, if the loss was still falling.",
        "Lower the latent width, so that less room is left for noise.",
    ),
    "dimensional collapse": (
        "Raise the covariance weight, or use SIGReg (weight 0.1), which asks every direction for variance.",
        "Raise the weight of inverse dynamics, so that the directions in use are those that matter.",
    ),
    "dead actions": (
        "Check that `actions[:, t]` leads from frame t to frame t + 1; shifted actions are noise to a predictor.",
        "Bring the actions to a standard deviation near 1, and play discrete ones as one-hot vectors.",
        "Make what the actions move larger in the picture, or the patches of the encoder smaller.",
    ),
    "no velocity": (
        "Give the state more than one frame: two poses and their difference, or a recurrent memory.",
        "Read inverse dynamics from three frames: two do not tell a force.",
    ),
    "agent-only latent": (
        "Add an objective for what is touched: inverse dynamics asks only for what one action moves directly. A dense "
        "target (features of the frame at every place) asks for all that moves.",
        "Collect more contact, and sample windows in which something is touched more often.",
        "Raise the latent width, if the directions in use are near it.",
    ),
    "blind predictor": (
        "Refine the predictor on the finished latents: it needs longer than the encoder.",
        "Train for more steps, with a rollout of several: a predictor with AdaLN-zero starts blind to actions.",
        "Condition every layer on the action, and bring latents and actions to a standard deviation near 1.",
    ),
    "lost data": ("Shorten the window or lower the frameskip, so that short episodes hold a window, too.",),
    "healthy": (),
}

OTHER = "Take another encoder, or train this one on pictures like these first: here it is frozen."
FROZEN: dict[Kind, tuple[str, ...]] = {  # where the encoder does not learn, no term of a loss changes its latents
    **dict.fromkeys(("complete collapse", "slow features", "nuisance features", "dimensional collapse"), (OTHER,)),
    "dead actions": (*REMEDIES["dead actions"][:2], OTHER),
    "no velocity": (REMEDIES["no velocity"][0],),
    "agent-only latent": (OTHER,),
    "blind predictor": REMEDIES["blind predictor"][1:],
}


def remedies_of(kind: Kind, *, frozen: bool) -> tuple[str, ...]:
    """What to change about a sickness, with an encoder that learns or with a frozen one."""
    return FROZEN.get(kind, REMEDIES[kind]) if frozen else REMEDIES[kind]
