# Each target first makes the checkout ready (.ci/prepare): a compiler, .venv, the built wheel in it.
# That takes a minute the first time and a fraction of a second afterwards.

BIN = .venv/bin
export PYTHONDONTWRITEBYTECODE = 1

# What was typed reaches the shell through the environment, so that no quote in it can hurt.
typed = $(filter command,$(origin $(1)))
ifneq ($(call typed,CMD),)
export JAI_CMD := $(value CMD)
endif
ifneq ($(call typed,K),)
export JAI_K := $(value K)
endif
unexport CMD K
only = $(if $(call typed,K),-- -k "$$JAI_K")

.PHONY: help run test check conformance bench fmt man clean ready-run ready-check ready-test

help:
	@echo "make run               run a wrecking agent in jails on a scratch home, and show what is left"
	@echo "make run CMD='...'     run any command in a jail, in your own home, granting this directory"
	@echo "make test              all tests; K=EXPRESSION selects some, as with pytest -k"
	@echo "make check             only the linters"
	@echo "make conformance       only the scenarios: what an agent does, and what must be left"
	@echo "make bench             start-up times beside other sandboxes"
	@echo "make fmt               format Python and C"
	@echo "make man               bring the lists of options in the manual pages up to date"
	@echo "make clean             remove everything that was made here"

ready-run ready-check ready-test:
	@.ci/prepare $(@:ready-%=%)

# The wrecker runs behind a second wall: whatever a broken jail lets through meets read-only file
# systems, and a home made for the occasion.
run: ready-run
ifneq ($(call typed,CMD),)
	@env -u MAKEFLAGS -u MAKEOVERRIDES -u MFLAGS -u MAKELEVEL \
		-u PYTHONDONTWRITEBYTECODE -u JAI_CMD \
		$(BIN)/jai sh -c "$$JAI_CMD"
else
	@$(BIN)/python -m conformance.wall -- .ci/inside $(BIN)/python -m conformance.demo
endif

test: ready-test
	@.ci/test tests conformance $(only)

check: ready-check
	@$(BIN)/pytest -p no:cacheprovider -q tests/test_lints.py

conformance: ready-test
	@.ci/test conformance $(only)

bench: ready-test
	@$(BIN)/python -m conformance.wall -- .ci/inside $(BIN)/pytest -p no:cacheprovider -q bench

fmt: ready-check
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@find jai -name '*.[ch]' -exec $(BIN)/clang-format -i {} +

man: ready-check
	@$(BIN)/python jai/man/update.py

clean:
	rm -rf .venv build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
