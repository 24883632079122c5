# Two commands matter: `make book` and `make test`. `make help` lists the others.
# All settings stand here; only the command line changes them, as in `make test WORKERS=0`.
PYTHON := python3
VENV := .venv
CHAPTER :=
# The processes that share the tests; 0 runs them in this one, which a debugger needs.
WORKERS := auto
# Not empty: records are not executed by `make test`, as `make browser` compares them with the build.
BUILT :=
TABLE :=
# What `make deep` trains: data set, depth of the DenseNet, trials, processes; DOWNLOAD=yes fetches data.
DATA := digits
DEPTH := 22
TRIALS := 1
JOBS := 1
SETTINGS :=
DOWNLOAD :=
PUBLISH :=
PORT := 8000
UPGRADE :=
# How many mutants, chosen by which seed, of which files (all rooms by default).
N := 300
SEED := 0
BELOW :=

BIN := $(VENV)/bin
SHARED = --numprocesses $(if $(CHAPTER),0,$(WORKERS)) --dist loadfile --no-loadscope-reorder
LOCKED := $(VENV)/.locked-packages
READY := $(VENV)/.dlnlib-installed
DEEP := $(VENV)/.deep-installed
# This Makefile made the folder: only such a one is emptied or removed.
OURS := $(VENV)/.made-by-make

# The reader's shell changes no number and no figure: of its variables these reach no command, but
# for what pip needs to find its index, and for Python's byte code.
FOREIGN := PYTHON% MPL% MATPLOTLIB% JUPYTER% IPYTHON% NUMBA_% OMP_% OPENBLAS_% GOTO_% MKL_% BLIS_% KMP_% \
  NPY_% NUMPY_% SCIPY_% SKLEARN_% JAXTYPING_% PYTEST_% HYPOTHESIS_% SPHINX% RUFF_% DASK_% PIP_% \
  LC_% LANG LANGUAGE TZ VIRTUAL_ENV CONDA_PREFIX GIT_DIR GIT_WORK_TREE BASH_ENV
ALLOWED := PYTHONDONTWRITEBYTECODE PIP_%INDEX PIP_%URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_%CERT \
  PIP_PROXY PIP_%TIMEOUT PIP_RETRIES PIP_CACHE_DIR PIP_CONFIG_FILE
unexport $(foreach name,$(filter-out $(ALLOWED),$(filter $(FOREIGN),$(.VARIABLES))),\
  $(if $(filter environment,$(origin $(name))),$(name)))

export PYTHONPATH := $(CURDIR)
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := 0
export LC_ALL := C.UTF-8
export TZ := UTC
# One thread for linear algebra: the same digits on every machine, and no quarrel over two cores.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# Kernels of this environment only, and none of the reader's own start-up files and styles.
export JUPYTER_PREFER_ENV_PATH := 1
export IPYTHONDIR := $(CURDIR)/_build/.ipython
export MPLCONFIGDIR := $(abspath $(VENV))/.matplotlib

# Refuses a folder that is not ours: of another tool, or of the reader.
ours = test ! -e $(VENV) || test -e $(OURS) || test -e $(LOCKED) || { \
  echo "'$(VENV)' was not made by this Makefile, which would $(1) it: move it away, or name another folder: make $(MAKECMDGOALS) VENV=.venv-book" >&2; exit 1; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env book test browser bless tables deep deeptest asserts check pdf serve lab notebooks bench mutants lock clean distclean

help:  ## list the commands
	@echo "make <command>, where <command> is one of"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1|\2/' \
	  | while IFS='|' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

env: $(READY)  ## create the environment from the hash lock (the other commands do it for you)

$(LOCKED): requirements.txt
	@$(call ours,fill)
	@rm -f $(LOCKED) $(READY)
	@command -v $(PYTHON) > /dev/null || { \
	  echo "No '$(PYTHON)' found: install Python 3.11 or newer, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "The book needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "'$(PYTHON)' comes without venv or ensurepip; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Creating $(VENV) and installing the locked packages (about a minute) ..."
	@mkdir -p $(VENV) && touch $(OURS)
	@{ $(PYTHON) -m venv --clear $(VENV) && touch $(OURS) && \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt; } || { \
	  echo "The packages could not be installed into $(VENV): is there a network or an index (PIP_INDEX_URL), and room on the disk (2 GB)? Then run make $(MAKECMDGOALS) again; what is half done is made anew." >&2; exit 1; }
	@touch $@

# An environment whose Python was upgraded away, or which was moved, is made anew.
ifneq (,$(wildcard $(LOCKED)))
ifeq (,$(shell $(BIN)/python -c 'print(1)' 2> /dev/null))
$(LOCKED): always
.PHONY: always
endif
endif

$(READY): $(LOCKED) pyproject.toml Makefile
	@rm -f $@
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . || { \
	  echo "dlnlib could not be installed into $(VENV): run make distclean, then make $(MAKECMDGOALS) again" >&2; exit 1; }
	@mkdir -p $(VENV)/etc/ipython  # kernels talk to this machine alone: no warning, for each, that others might listen
	@echo "c.IPKernelApp.log_level = 'ERROR'" > $(VENV)/etc/ipython/ipython_kernel_config.py
	@$(BIN)/python -c 'import matplotlib.font_manager'  # lists the fonts, which no chapter shall report
	@touch $@

# A page that failed once would not be read again by Sphinx, and a second build would pass:
# whenever the last build did not pass, all pages are read afresh (executed results stay cached).
book: $(READY)  ## execute every chapter and render the book to _build/html
	@mkdir -p _build; exec 9> _build/.lock; ! command -v flock > /dev/null || flock -n 9 || { \
	  echo "Another build runs in this folder: wait until it has ended, then make $(MAKECMDGOALS) again" >&2; exit 1; }; \
	  test -e _build/.passed || rm -rf _build/.doctrees _build/html; rm -f _build/.passed; \
	  $(BIN)/jupyter-book build . -W --keep-going -n 9>&- && touch _build/.passed
	@echo "The book is in _build/html: open $(CURDIR)/_build/html/index.html"

test: $(READY)  ## lint, unit tests, derivations, records (CHAPTER=intro for one chapter)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest $(SHARED) $(if $(CHAPTER),--chapter=$(CHAPTER)) $(if $(BUILT),--ignore=tests/reference)

browser: book  ## try every page of the book in Chromium (CHROMIUM=... names another browser)
	@$(BIN)/python -m pytest $(SHARED) -m browser tests/site

bless: $(READY)  ## execute chapters, keep what they put out as records (CHAPTER=exact_dynamics for one)
	@mkdir -p _build  # or IPython warns that it has no home
	@$(BIN)/python -m tools.bless $(CHAPTER)

tables: $(READY)  ## compute the result tables of chapters/tables again (TABLE=regret_modes for one)
	@$(BIN)/python -m dlnlib.studies $(TABLE)

# PyTorch stands in no lock: which of its builds is right depends on the machine, and that for GPUs,
# which Linux gets by default, is large.  What is locked stays as it is.
$(DEEP): $(READY) requirements-deep.txt
	@rm -f $@
	@echo "Installing PyTorch (200 MB, or 3 GB where it comes with CUDA) ..."
	@$(BIN)/python -m pip install --quiet -r requirements-deep.txt || { \
	  echo "PyTorch could not be installed into $(VENV): is there a network or an index (PIP_INDEX_URL), and room on the disk (5 GB)? Then run make $(MAKECMDGOALS) again." >&2; exit 1; }
	@touch $@

deep: $(DEEP)  ## train DenseNets, go on after a kill (DATA=cifar10 DEPTH=100 TRIALS=1 JOBS=2 DOWNLOAD=yes)
	@$(BIN)/python -m dlnlib.deep --data $(DATA) --depth $(DEPTH) --trials $(TRIALS) --jobs $(JOBS) \
	  $(if $(DOWNLOAD),--download) $(if $(PUBLISH),--publish) $(if $(SETTINGS),--settings $(SETTINGS))

deeptest: $(DEEP)  ## the tests that need PyTorch
	@$(BIN)/python -m pytest $(SHARED) dlnlib/deep tests/deep

asserts: $(READY)  ## list the assertions of the chapters that nothing breaks (CHAPTER=intro for one)
	@$(BIN)/python -m tools.asserts $(CHAPTER)

check:  ## check the built pages: links, assets, requests to other hosts, alternative texts
	@$(BIN)/python -m tools.check_site _build/html

# The packages of LaTeX are looked for first, before anything is installed or built.
pdf:  ## the book as a PDF, in _build/one-scalar.pdf and linked from the pages (needs LaTeX)
	@! command -v $(PYTHON) > /dev/null || $(PYTHON) tools/pdf/needs.py
	@$(MAKE) --no-print-directory env
	@$(BIN)/python -m tools.pdf
	@$(MAKE) --no-print-directory book

serve: book  ## serve the book on http://localhost:8000 (PORT=...)
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2> /dev/null || { \
	  echo "Port $(PORT) is taken or not allowed: make serve PORT=8001" >&2; exit 1; }
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

lab: $(READY)  ## open the chapters as notebooks in JupyterLab
	@JUPYTER_CONFIG_PATH="$(CURDIR)/tools/jupyter" $(BIN)/jupyter lab chapters

notebooks: book  ## executed notebooks of all chapters in _build/notebooks
	@rm -rf _build/notebooks && mkdir _build/notebooks
	@cp _build/html/_sources/chapters/*.ipynb _build/notebooks

bench: $(READY)  ## the speed comparisons of benchmarks/
	@$(BIN)/python -m pytest benchmarks --benchmark-only

mutants: $(READY)  ## change one place of dlnlib at a time: do the tests notice? (N=300 SEED=0 BELOW=dlnlib/modes)
	@$(BIN)/python -m tools.mutants $(N) $(SEED) $(BELOW)

lock:  ## compile requirements.txt from pyproject.toml (needs uv; UPGRADE=1 for newer versions)
	@command -v uv > /dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --extra book --extra lab --extra cluster --extra dev $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.txt

clean:  ## remove what the build made
	@rm -rf _build .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean:  ## clean, and remove the environment
	@$(call ours,remove)
	@$(MAKE) --no-print-directory clean
	@rm -rf $(VENV)
