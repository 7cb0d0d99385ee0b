"""What a maker says of a model: words that anybody may read, that earn nothing, and that are cross-checked."""
