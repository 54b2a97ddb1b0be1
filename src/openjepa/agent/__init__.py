"""An agent that perceives, remembers, decides and acts."""

from openjepa.agent.actor import AcceptanceRule, ProposalConfig, ProposeVerifyRepair
from openjepa.agent.agent import Agent, AgentConfig
from openjepa.agent.memory import PromiseConfig

__all__ = ["Agent", "AgentConfig", "AcceptanceRule", "ProposalConfig", "ProposeVerifyRepair", "PromiseConfig"]
