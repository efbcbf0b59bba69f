"""The folds: events become the read model, exactly once, whoever projects."""
