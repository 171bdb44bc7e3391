#!/usr/bin/env bash
# Finds Python, Java, Spark and Delta's jars, and runs a job by them:
#   ./spark-submit.sh JOB [options of the job] [-- options of spark-submit]
# PROFILE=local|cluster chooses conf/; DELTA_JARS=provided|packages says where Delta's jars come from
# when they are not in build/ivy/jars (make setup puts them there).
set -euo pipefail

# A link to the script leads to its own folder.
script=$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null) || script=${BASH_SOURCE[0]}
here=$(cd "$(dirname "$script")" && pwd)
# Java turns what it cannot write in the locale's letters into question marks, names of files too.
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
  *UTF-8* | *utf-8* | *UTF8* | *utf8*) ;;
  *) export LC_ALL=C.UTF-8 ;;
esac
# Here lies the whole project, or what `make package` made of it: the code as a zip.
code=$here main=$here/jobs/main.py jars=$here/build/ivy/jars
if [ -f "$here/app.zip" ]; then
  code=$here/app.zip main=$here/main.py jars=$here/jars
fi

arguments=() submit=()
while [ $# -gt 0 ]; do
  if [ "$1" = "--" ]; then
    shift
    submit=("$@")
    break
  fi
  arguments+=("$1")
  shift
done

# Spark's warnings are for those who ask for all (conf/log4j2.properties reads this).
export LATENT_DEDUP_SPARK_LOG=${LATENT_DEDUP_SPARK_LOG:-error}
case " ${arguments[*]-} " in *" --verbose "*) LATENT_DEDUP_SPARK_LOG=warn ;; esac

export PROFILE=${PROFILE:-local}
if [ ! -f "$here/conf/spark-$PROFILE.conf" ]; then
  echo "PROFILE=$PROFILE: there is no conf/spark-$PROFILE.conf; use local or cluster" >&2
  exit 2
fi

# The last value among spark-submit's options: of an option such as --master, or of --conf NAME=.
option() {
  local before="" word value=""
  for word in ${submit[@]+"${submit[@]}"}; do
    case "$before $word" in
      "--conf $2="* | "-c $2="*) value=${word#*=} ;;
      *" --conf=$2="*) value=${word#--conf="$2"=} ;;
      *) if [ -n "$1" ]; then case "$before $word" in
        "$1 "*) value=$word ;;
        *" $1="*) value=${word#"$1"=} ;;
      esac; fi ;;
    esac
    before=$word
  done
  echo "$value"
}

# Workers take the PATH's python3 otherwise, even under a virtual environment.
python=$here/.venv/bin/python
[ -x "$python" ] || python=$(command -v python3 || true)
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$python}
export PYSPARK_DRIVER_PYTHON=$PYSPARK_PYTHON # a notebook's setting would start a notebook
# Which of some modules Python does not find; all of them if there is no Python.
missing() {
  "$PYSPARK_PYTHON" -c 'import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if not u.find_spec(n)))' "$@" 2>/dev/null || echo "$@"
}
# Another Spark's Python on PYTHONPATH would be imported in place of the installed one.
if [ -n "${PYTHONPATH:-}" ] && [ -z "$(unset PYTHONPATH && missing pyspark)" ]; then
  kept=()
  IFS=: read -ra entries <<<"$PYTHONPATH"
  for entry in ${entries[@]+"${entries[@]}"}; do
    case "$entry" in
      *pyspark.zip | *py4j-*.zip) others=yes ;;
      *) if [ -e "$entry/pyspark" ]; then others=yes; else others=; fi ;;
    esac
    if [ -n "$others" ]; then echo "PYTHONPATH: $entry holds another Spark, and is left out" >&2; else kept+=("$entry"); fi
  done
  PYTHONPATH=$(IFS=: && echo "${kept[*]-}")
  if [ -z "$PYTHONPATH" ]; then unset PYTHONPATH; fi
fi
if [ "${arguments[0]-}" = doctor ] && [ -f "$here/deploy/doctor.py" ] && command -v "$PYSPARK_PYTHON" >/dev/null; then
  exec "$PYSPARK_PYTHON" "$here/deploy/doctor.py" "$jars" ${arguments[@]+"${arguments[@]:1}"} -- ${submit[@]+"${submit[@]}"}
fi
absent=$(missing pyspark delta deltalake torch numpy numba scipy pandas pyarrow PIL safetensors matplotlib jinja2 pydantic threadpoolctl rich simplejpeg puremagic tifffile)
if [ -n "$absent" ]; then
  echo "${absent// /, } not installed for $PYSPARK_PYTHON: run make setup, or set PYSPARK_PYTHON" >&2
  exit 1
fi
# Usage needs no Java. A job has the name of its file.
usage=yes
if [ "$code" = "$here" ]; then
  for file in "$here/jobs/${arguments[0]-}.py" "$here"/jobs/*/"${arguments[0]-}.py"; do
    if [ -f "$file" ]; then usage=; fi
  done
elif "$PYSPARK_PYTHON" -m zipfile -l "$code" | grep -F -- "/${arguments[0]-}.py " >/dev/null; then
  usage=
fi
case " ${arguments[*]-} " in *" -h "* | *" --help "*) usage=yes ;; esac
if [ -n "$usage" ]; then
  export PYTHONPATH=$code${PYTHONPATH:+:$PYTHONPATH}
  exec "$PYSPARK_PYTHON" "$main" ${arguments[@]+"${arguments[@]}"}
fi
LATENT_DEDUP_VERSION=$(cat "$here/VERSION" 2>/dev/null || git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
export LATENT_DEDUP_VERSION

# Settings that are not given come from the project, wherever the command is called.
export LATENT_DEDUP_SETTINGS=$here/conf/$PROFILE.toml

# Where Spark runs on this machine alone, the job's own process starts Java, and only if there is
# something to do for it: wrong settings, a dry run, and what is done already need none.
master=$(option --master spark.master) own_java=
if [ "$PROFILE" = local ]; then
  case "${master:-local}" in local | local\[*) own_java=yes ;; esac
fi
if [ -n "${SPARK_HOME:-}" ] && ! ls "$SPARK_HOME"/jars/spark-core_*-4.2.*.jar >/dev/null 2>&1; then
  echo "SPARK_HOME=$SPARK_HOME is no Spark 4.2, which Delta's jars need: pyspark's own is taken" >&2
  unset SPARK_HOME
fi
if [ -n "${JAVA_HOME:-}" ] && [ ! -x "$JAVA_HOME/bin/java" ]; then
  echo "JAVA_HOME=$JAVA_HOME has no bin/java: the java of the PATH is taken" >&2
  unset JAVA_HOME
fi
if [ -z "$own_java" ]; then
  java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
  case "$version" in
    17 | 21) ;;
    *)
      echo "Spark needs Java 17 or 21, here is ${version:-none}: install one, or set JAVA_HOME" >&2
      exit 1
      ;;
  esac
fi

# Spark's settings, and with them the secret of a cluster that makes none by itself. It stands in a
# file that only this user can read, since every user of the machine can see a command line.
properties=$here/conf/spark-$PROFILE.conf
work=$here/build
leftover=() # what is removed at the end
trap 'rm -rf ${leftover[@]+"${leftover[@]}"}' EXIT
if [ "$code" != "$here" ] || ! mkdir -p "$work" 2>/dev/null || [ ! -w "$work" ]; then
  work=$(mktemp -d) # of a package, or an installation that this user cannot write to
  leftover+=("$work")
fi
app=$work/app.$$.zip own=$work/spark.$$.conf
leftover+=("$app" "$own")
if [ "$PROFILE" = cluster ]; then
  authenticate=$(option "" spark.authenticate)
  secret=$(option "" spark.authenticate.secret) file=${LATENT_DEDUP_SECRET_FILE:-}
  case "${authenticate:-true} ${secret:+given} ${master:-local}" in
    false* | *given* | *" yarn" | *" k8s://"* | *" local" | *" local["*) ;;
    *)
      if [ -z "$file" ] || [ ! -s "$file" ]; then
        cat >&2 <<MESSAGE
The master $master needs a secret that it shares with you. Make one and give it to the master and all workers
(docs/operations.md, "Security"), then name its file:
  (umask 077; openssl rand -hex 32 > ~/.spark-secret)
  export LATENT_DEDUP_SECRET_FILE=~/.spark-secret
MESSAGE
        exit 2
      fi
      (umask 077 && { cat "$properties" && echo "spark.authenticate.secret $(cat "$file")"; } >"$own")
      properties=$own
      ;;
  esac
fi

# What executors import. On this machine they read it where it lies.
if [ "$code" != "$here" ]; then app=$code; elif [ -z "$own_java" ]; then "$PYSPARK_PYTHON" "$here/deploy/app_zip.py" "$app"; fi

delta=() joined=()
case "${DELTA_JARS:-build}" in
  provided) ;;
  packages)
    found=io.delta:delta-spark_4.2_2.13:4.4.0
    delta=(--packages "$found")
    own_packages=$(option --packages spark.jars.packages)
    if [ -n "$own_packages" ]; then joined=(--packages "$found,$own_packages"); fi
    ;;
  build)
    found=$(find "$jars" -name '*.jar' 2>/dev/null | paste -sd, -) || true
    if [ -z "$found" ]; then
      echo "Delta's jars are missing: run make setup, or set DELTA_JARS=packages or provided" >&2
      exit 1
    fi
    delta=(--jars "$found")
    # Spark takes the last --jars alone, as it takes the last --packages.
    own_jars=$(option --jars spark.jars)
    if [ -n "$own_jars" ]; then joined=(--jars "$found,$own_jars"); fi
    ;;
  *)
    echo "DELTA_JARS=$DELTA_JARS: use provided or packages" >&2
    exit 2
    ;;
esac

# Not by --driver-java-options, which a user's own would replace.
logging=() options="\"-Dlog4j2.configurationFile=file:$here/conf/log4j2.properties\""
# Java unpacks libraries of machine code into the folder of temporary files, and cannot load them if
# that is mounted noexec.
probe=$(mktemp) && printf '#!/bin/sh\n' >"$probe" && chmod +x "$probe"
if ! "$probe" 2>/dev/null; then
  mkdir -p "$work/tmp"
  options+=" \"-Djava.io.tmpdir=$work/tmp\""
fi
rm -f "$probe"
if [ "$PROFILE" = local ]; then
  export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
  # Spark's 20,000 classes as an earlier start left them, five seconds of this one's. Java takes the
  # archive only where all that classes come from is the same and no folder with files is among it:
  # an empty one stands for conf/. One that does not fit is passed over without a word.
  mkdir -p "$work/no-conf"
  export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$work/no-conf}
  if [ -n "${LATENT_DEDUP_ARCHIVE:-}" ]; then
    options+=" \"-XX:ArchiveClassesAtExit=$LATENT_DEDUP_ARCHIVE\""
  elif [ -s "$here/build/classes.jsa" ]; then
    options+=" \"-XX:SharedArchiveFile=$here/build/classes.jsa\""
  fi
  export SPARK_SUBMIT_OPTS="$options -XX:+IgnoreUnrecognizedVMOptions -Xlog:cds*=off ${SPARK_SUBMIT_OPTS:-}"
else
  logging=(--files "$here/conf/log4j2.properties")
  export SPARK_SUBMIT_OPTS="$options ${SPARK_SUBMIT_OPTS:-}"
fi

# Torch's threads wait for each other thousands of times a second. Where other programs want the
# cores too, spinning meanwhile made training four times as slow.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

workers=()
if [ -n "$own_java" ]; then
  workers=(--conf spark.python.daemon.module=jobs.runtime.worker_daemon)
  # Unix's sockets are quicker than TCP. They ask for no password, so their folder is this user's
  # alone; and the path of one, a name of 42 letters in it, may have a hundred.
  sockets=$(mktemp -d)
  leftover+=("$sockets")
  if [ "${#sockets}" -le 60 ]; then
    workers+=(--conf spark.python.unix.domain.socket.enabled=true --conf "spark.python.unix.domain.socket.dir=$sockets")
  fi
fi
spark_options=(
  --properties-file "$properties"
  --deploy-mode client
  ${workers[@]+"${workers[@]}"}
  ${delta[@]+"${delta[@]}"} ${logging[@]+"${logging[@]}"} ${submit[@]+"${submit[@]}"} ${joined[@]+"${joined[@]}"}
)
# What is printed to stderr passes through the function that hides credentials. Ctrl-C reaches all of
# these processes: the filter must live on, to pass on what is said at the end.
filter() {
  trap '' INT
  PYTHONPATH=$code exec "$PYSPARK_PYTHON" -P -m jobs.settings.redaction ${submit[@]+"${submit[@]}"}
}
if [ -n "$own_java" ]; then
  quote="'\"'\"'" # a single quote among words in single quotes
  # shellcheck disable=SC2089 # PySpark splits it as a shell would
  printf -v PYSPARK_SUBMIT_ARGS "'%s' " "${spark_options[@]//\'/$quote}" pyspark-shell
  # A package `jobs` in the folder where the command is given must not come before this one.
  export PYTHONSAFEPATH=1
  # shellcheck disable=SC2090
  # The last two as spark-submit sets them for a job.
  export PYSPARK_SUBMIT_ARGS PYTHONHASHSEED=${PYTHONHASHSEED:-0} PYTHONUNBUFFERED=YES
  PYTHONPATH=$code${PYTHONPATH:+:$PYTHONPATH} "$PYSPARK_PYTHON" "$main" ${arguments[@]+"${arguments[@]}"} 2> >(filter)
else
  # spark-submit gives the job a pipe for its stdout; by this it finds the terminal, where there is one.
  export LATENT_DEDUP_TERMINAL=
  if [ -t 1 ]; then { LATENT_DEDUP_TERMINAL=$(tty <&3) || true; } 3>&1; fi
  spark=${SPARK_HOME:-$("$PYSPARK_PYTHON" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')}
  "$spark/bin/spark-submit" \
    "${spark_options[@]}" \
    --conf "spark.pyspark.driver.python=$PYSPARK_DRIVER_PYTHON" \
    --py-files "$app" \
    "$main" ${arguments[@]+"${arguments[@]}"} 2> >(filter)
fi
