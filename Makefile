# make demo   render a small survey, find its near-copies, write the report
# make test   what must hold, but for test-whole; sets itself up
# make test-whole  the tests that run whole pipelines, or one stage many times: a killed pipeline, a
#             cluster, the other kind of warehouse, every reader of the tables, the recipes
# make test-faults  what goes wrong at every stage and between all that is written; it takes an hour
#             or two, and goes on where it was stopped
# make browser  Debian's chromium, in which the tests open the report's page; needs root
# make test-cluster  the tests that need an HDFS and a standalone cluster; they start both on loopback
# make test-s3  the same against an object store; it fetches 700 MB
# make figures  renders the tables and numbers of README.md and docs/ from docs/figures/*.json
# make package  writes to build/package what another machine needs to submit the jobs; with
#             ENVIRONMENT=yes an archive of Python and its packages, too (LEAVE_OUT="torch …": without)
# make setup  only the environment: .venv and Delta's jars

PYTHON ?= python3
# A CPU build of torch instead of the default one: PIP_FLAGS="--extra-index-url URL-OF-A-CPU-INDEX"
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
TRUTH := --set report.truth=$(DEMO)/truth.csv
DELTA := io.delta:delta-spark_4.2_2.13:4.4.0
# Of what Delta brings, what pip's Spark has already, and would clash with.
SPARE := io.delta:delta-kernel-api,io.delta:delta-kernel-defaults,io.delta:delta-kernel-unitycatalog,io.unitycatalog:unitycatalog-client,io.unitycatalog:unitycatalog-hadoop

HADOOP := org.apache.hadoop:hadoop-client-minicluster:3.5.0
# What reads s3a://, with the versions that Hadoop 3.5.0 was built with; and a server that speaks S3.
S3 := org.apache.hadoop:hadoop-aws:3.5.0
CLUSTER_TESTS ?= cluster and not s3
WHOLE_TESTS ?= whole
MOTO := moto[server,s3]==5.2.5

.PHONY: setup browser demo test test-whole test-faults test-cluster test-s3 lint format figures package clean

setup: $(VENV)/.done build/ivy/.done build/classes.jsa

$(VENV)/.done: requirements.txt requirements-dev.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: install a newer one, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv: install it (on Debian: python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -r requirements-dev.txt
	@touch $@

build/ivy/.done: $(VENV)/.done
	@command -v java >/dev/null || [ -x "$$JAVA_HOME/bin/java" ] || { echo "install a Java 17 or 21 runtime, or set JAVA_HOME"; exit 1; }
	@mkdir -p build/ivy && : > build/empty.py
	PYSPARK_PYTHON=$(abspath $(BIN)/python) $(BIN)/spark-submit --packages $(DELTA) --exclude-packages $(SPARE) --conf spark.jars.ivy=$(abspath build/ivy) build/empty.py >build/ivy/log 2>&1 || { cat build/ivy/log; exit 1; }
	@touch $@

# Spark's classes as a small pipeline leaves them: every later start is seconds shorter. Where none
# can be made there is an empty file, which no start looks at. Moved into place when whole: Java ends
# at a piece of one.
build/classes.jsa: build/ivy/.done
	@small=build/small.$$$$; mkdir -p $$small; rm -f $@; \
	run() { env -u SPARK_CONF_DIR -u SPARK_HOME -u SPARK_SUBMIT_OPTS -u DELTA_JARS PROFILE=local PYSPARK_PYTHON="$$PWD/$(BIN)/python" ./spark-submit.sh "$$@"; }; \
	{ run sample --images $$small/images --set sample.labels=2 --set sample.scenes=4 && export LATENT_DEDUP_ARCHIVE="$$PWD/$$small/classes.jsa" && \
	  run pipeline --images $$small/images --warehouse $$small/warehouse; } >$$small/log 2>&1 && mv $$small/classes.jsa $@ || \
	  { echo "no archive of Spark's classes could be made, so starts take some seconds longer (build/classes.log tells why)"; : >$@; }; \
	mv $$small/log build/classes.log; rm -rf $$small

# Hadoop's servers for tests, beside Spark's own jars.
build/cluster/.done: $(VENV)/.done
	@mkdir -p build/cluster && : > build/empty.py
	PYSPARK_PYTHON=$(abspath $(BIN)/python) $(BIN)/spark-submit --packages $(HADOOP) --conf spark.jars.ivy=$(abspath build/cluster) build/empty.py >build/cluster/log 2>&1 || { cat build/cluster/log; exit 1; }
	@touch $@

build/s3/.done: $(VENV)/.done
	@mkdir -p build/s3 && : > build/empty.py
	$(PYTHON) -m venv build/s3/environment
	build/s3/environment/bin/pip install --quiet --disable-pip-version-check "$(MOTO)"
	PYSPARK_PYTHON=$(abspath $(BIN)/python) $(BIN)/spark-submit --packages $(S3) --conf spark.jars.ivy=$(abspath build/s3) build/empty.py >build/s3/log 2>&1 || { cat build/s3/log; exit 1; }
	@touch $@

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium; }

demo: setup
	./spark-submit.sh sample --images $(DEMO)/images $(TRUTH)
	./spark-submit.sh pipeline --images $(DEMO)/images --warehouse $(DEMO)/warehouse $(TRUTH)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck spark-submit.sh .ci/run

test: lint
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not whole and not cluster and not s3 and not faults"

test-whole: setup
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "$(WHOLE_TESTS) and not cluster and not s3 and not faults"

# One process: each test has a folder of its own in build/faults, which it goes on from.
test-faults: setup
	$(BIN)/pytest -m faults

# One process: all tests share one HDFS and one cluster.
test-cluster: setup build/cluster/.done
	REQUIRE_SERVERS=1 $(BIN)/pytest -m "$(CLUSTER_TESTS)"

test-s3: setup build/s3/.done
	REQUIRE_SERVERS=1 $(BIN)/pytest -m s3

package: setup
	$(BIN)/python -m deploy.package build/package $(if $(filter yes,$(ENVIRONMENT)),--environment) $(if $(LEAVE_OUT),--leave-out $(LEAVE_OUT))

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: setup
	$(BIN)/python -m benchmarks.render

clean:
	rm -rf build $(VENV)
