"""A mixture of experts as an estimator of scikit-learn."""
