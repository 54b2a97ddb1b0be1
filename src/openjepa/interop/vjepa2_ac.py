"""V-JEPA 2-AC in Meta's files (arXiv 2506.09985): a frozen encoder and the action-conditioned predictor."""

from collections.abc import Mapping
from typing import Any

from openjepa.interop import key_maps, sizes
from openjepa.interop.meta_files import LoadReport
from openjepa.interop.state_files import build, section
from openjepa.models.action_predictor import PoseActionPredictor, PoseActionPredictorConfig

KEYS: key_maps.KeyMap = (
    ("embed", "predictor_embed"),
    ("action_encoder", "action_encoder"),
    ("pose_encoder", "state_encoder"),
    ("camera_encoder", "extrinsics_encoder"),
    ("blocks", "predictor_blocks"),
    ("norm", "predictor_norm"),
    ("proj", "predictor_proj"),
)


def load_action_predictor(
    content: Mapping[str, Any],
    *,
    source: str,
    num_heads: int = 16,
    native_rows: int = 16,
    use_camera: bool = False,
    layer_norm_eps: float = 1e-6,
) -> tuple[PoseActionPredictor, LoadReport]:
    """Takes the action-conditioned predictor out of a file's content.

    Args:
        content: of the file.
        source: what messages call the file.
        num_heads: 16 in the published file.
        native_rows: rows of tokens of a frame, 16 in the published file.
        use_camera: whether camera extrinsics are read; off in the published file, which stores their encoder.
        layer_norm_eps: of the blocks.

    Raises:
        CheckpointError: for anything missing, unexpected or of another shape.
    """
    state = section(content, "predictor", source)
    ours = key_maps.to_ours(state, KEYS, source=source)
    width, embed_dim = sizes.shape(ours, "embed.weight", source, (2,))
    config = PoseActionPredictorConfig(
        embed_dim=embed_dim,
        predictor_dim=width,
        depth=sizes.count(ours, "blocks."),
        num_heads=num_heads,
        mlp_ratio=sizes.shape(ours, "blocks.0.mlp.fc1.weight", source, (2,))[0] / width,
        qkv_bias="blocks.0.attn.qkv.bias" in ours,
        layer_norm_eps=layer_norm_eps,
        action_dim=sizes.shape(ours, "action_encoder.weight", source, (2,))[1],
        pose_dim=sizes.shape(ours, "pose_encoder.weight", source, (2,))[1],
        camera_dim=sizes.shape(ours, "camera_encoder.weight", source, (2,))[1],
        use_camera=use_camera,
        native_rows=native_rows,
        rope_layout="tiled",
    )
    predictor = build(PoseActionPredictor, config, ours, source=f"{source} [predictor]")
    return predictor, LoadReport(source, "vjepa2_ac", "meta", "predictor", len(state))
