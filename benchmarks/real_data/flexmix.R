# Fit mixtures of linear regressions with a multinomial-logit gate; keep the one with the least BIC.
# Usage: Rscript flexmix.R training.csv fitted.csv most_components restarts seed
# fitted.csv: one line a component: gate coefficients, then regression coefficients (intercepts
# first), then 1 if EM converged and every size could be fitted, and the seconds of the fit.
suppressPackageStartupMessages(library(flexmix))

arguments <- commandArgs(trailingOnly = TRUE)
rows <- read.csv(arguments[1])
most <- as.integer(arguments[3])
restarts <- as.integer(arguments[4])
set.seed(as.integer(arguments[5]))

inputs <- setdiff(names(rows), "y")
gate <- as.formula(paste("~", paste(inputs, collapse = " + ")))
rule <- as.formula(paste("y ~", paste(inputs, collapse = " + ")))

began <- proc.time()[["elapsed"]]
# A size is left out if all its restarts fail, as they do where components vanish.
fits <- lapply(seq_len(most), function(k) {
  tryCatch(
    stepFlexmix(rule, data = rows, k = k, nrep = if (k == 1) 1 else restarts,
                concomitant = FLXPmultinom(gate), verbose = FALSE),
    error = function(e) NULL)
})
fitted <- Filter(Negate(is.null), fits)
if (length(fitted) == 0) stop("no number of components could be fitted")
best <- fitted[[which.min(sapply(fitted, BIC))]]
whole <- best@converged && length(fitted) == most
seconds <- proc.time()[["elapsed"]] - began

size <- length(inputs) + 1
regression <- t(parameters(best)[seq_len(size), , drop = FALSE])
# With one component flexmix drops the gate.
scores <- if (best@k == 1) matrix(0, 1, size) else t(best@concomitant@coef)
write.table(cbind(scores, regression, as.integer(whole), seconds),
            arguments[2], sep = ",", na = "nan", row.names = FALSE, col.names = FALSE)
