"""The interface of heads, and pointwise networks with generated weights."""
