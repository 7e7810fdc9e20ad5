# Each target first makes the checkout ready (.ci/prepare): a compiler, .venv, the built wheel in it.
# That takes a minute the first time and a fraction of a second afterwards.

BIN = .venv/bin
export PYTHONDONTWRITEBYTECODE = 1

# What was typed reaches the shell through the environment, so that no quote in it can hurt.
typed = $(filter command,$(origin $(1)))
asked = CMD K KERNEL HOME_FS INIT MODE GUEST ROUNDS LEAVE_OUT
$(foreach name,$(asked),$(if $(call typed,$(name)),$(eval export ASKED_$(name) := $$(value $(name)))))
unexport $(asked)
option = $(if $(call typed,$(1)),$(2) "$$ASKED_$(1)")
only = $(call option,K,-k) $(call option,MODE,--mode)
guests = $(call option,GUEST,--guest) $(call option,KERNEL,--kernel) $(call option,HOME_FS,--home-fs) $(call option,INIT,--init)

.PHONY: help run test check conformance mutants peers guest vagrant-box bench costs fmt man clean \
	ready-run ready-check ready-test ready-mutants ready-guests ready-reach ready-bench

help:
	@echo "make run               run a wrecking agent in jails on a scratch home, and show what is left"
	@echo "make run CMD='...'     run any command in a jail, in your own home, granting this directory"
	@echo "make test              all tests; K=EXPRESSION selects some, as with pytest -k"
	@echo "make check             only the linters"
	@echo "make conformance       only the scenarios: what an agent does, and what must be left"
	@echo "make conformance KERNEL=6.12 HOME_FS=btrfs MODE=strict K=D01"
	@echo "                       some of them in a guest: another kernel, another file system of the homes"
	@echo "make conformance GUEST=ssh://root@HOST"
	@echo "                       on a machine of yours that may be wrecked; CONTRIBUTING.md has more places"
	@echo "make conformance INIT=systemd"
	@echo "                       what can only be seen with systemd, in a guest that has it"
	@echo "make conformance KERNEL=all HOME_FS=all"
	@echo "                       the whole matrix, shared among the guests; KERNEL=slice a part of it"
	@echo "make vagrant-box       build a box for GUEST=vagrant:local"
	@echo "make guest KERNEL=6.12 a shell in such a guest, with jai installed"
	@echo "make mutants           leave out each protection in turn, and show which scenarios notice"
	@echo "make mutants KERNEL=6.12 LEAVE_OUT=masks"
	@echo "                       the same in a guest, for one protection"
	@echo "make peers             what the same acts reach without a jail, in bubblewrap and in jai"
	@echo "make bench             what jai costs, beside other sandboxes and its budgets; K=EXPRESSION selects"
	@echo "make costs             what each protection adds to a start"
	@echo "make fmt               format Python and C"
	@echo "make man               bring the lists of options in the manual pages up to date"
	@echo "make clean             remove everything that was made here"

ready-run ready-check ready-test ready-mutants ready-guests ready-reach ready-bench:
	@.ci/prepare $(@:ready-%=%)

# The wrecker runs behind a second wall: whatever a broken jail lets through meets read-only file
# systems, and a home made for the occasion.
run: ready-run
ifneq ($(call typed,CMD),)
	@env -u MAKEFLAGS -u MAKEOVERRIDES -u MFLAGS -u MAKELEVEL \
		-u PYTHONDONTWRITEBYTECODE -u ASKED_CMD \
		$(BIN)/jai sh -c "$$ASKED_CMD"
else
	@$(BIN)/python -m conformance.wall -- .ci/inside $(BIN)/python -m conformance.demo
endif

# mke2fs and depmod, which make guests, are where an ordinary user does not look.
conformance guest vagrant-box mutants bench: export PATH := $(PATH):/usr/sbin:/sbin

test: ready-test
	@.ci/test tests conformance -- $(only)

check: ready-check
	@$(BIN)/pytest -p no:cacheprovider -q tests/test_lints.py

ifeq ($(strip $(call option,KERNEL,x) $(call option,HOME_FS,x) $(call option,INIT,x) $(if $(call typed,GUEST),$(GUEST),local)),local)
conformance: ready-test
	@JAI_TOLD=build/told .ci/test conformance -- $(only)
else
conformance: $(if $(findstring :,$(call option,GUEST,$(GUEST))),ready-reach,ready-guests)
	@$(BIN)/python -m conformance.guests.run scenarios $(guests) $(only)
endif

guest: ready-guests
	@$(BIN)/python -m conformance.guests.run shell $(guests)

vagrant-box: ready-guests
	@$(BIN)/python -m conformance.guests.box $(call option,KERNEL,--kernel)

ifeq ($(strip $(guests)),)
mutants: ready-mutants
	@JAI_WHEELHOUSE=build/mutants/wheelhouse $(BIN)/python -m conformance.wall -- \
		.ci/inside $(BIN)/python -m pytest -q -rNfE -p conformance.mutants conformance $(only)
else
mutants: ready-mutants ready-guests
	@$(BIN)/python -m conformance.guests.run mutants $(call option,LEAVE_OUT,--leave-out) $(guests) $(only)
endif

peers: ready-test
	@$(BIN)/python -m conformance.wall -- \
		.ci/inside $(BIN)/python -m pytest -p no:cacheprovider -q -rNfE conformance/peers.py

bench: ready-bench
	@JAI_BENCH_ROUNDS="$$ASKED_ROUNDS" $(BIN)/python -m bench.run $(call option,K,-k)

costs: ready-mutants
	@JAI_WHEELHOUSE=build/mutants/wheelhouse $(BIN)/python -m conformance.wall -- \
		.ci/inside $(BIN)/python -m pytest -p no:cacheprovider -q -rNfE bench/protections.py

fmt: ready-check
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@find jai bench -name '*.[ch]' -exec $(BIN)/clang-format -i {} +

man: ready-check
	@$(BIN)/python jai/man/update.py

clean:
	rm -rf .venv build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
