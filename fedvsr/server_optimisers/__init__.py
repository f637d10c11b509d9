"""Server optimisers: how the server steps from the base weights towards a strategy's aggregate."""
