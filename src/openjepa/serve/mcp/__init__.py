"""A world model as tools of a language model, over MCP: imagine, plan, act, judge; latents stay in the server."""
