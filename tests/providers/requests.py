"""A request to vary in tests."""

from app.providers.completion import CompletionRequest

REQUEST = CompletionRequest(
    model="m", messages=(), max_output_tokens=1_000, problem="what is it", op="gate.first", seed=0
)
