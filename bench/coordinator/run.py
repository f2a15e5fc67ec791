"""Benchmarks of a coordinator program, driven by Python's grpcio, which is not Fivefold's own client.

    run.py rest  [--bin DIR] [--sets N ...] [--seconds S]   CPU of an idle coordinator with N unfinished job sets
    run.py lease [--bin DIR] [--jobs N ...] [--calls N]     latency of calls with N queued jobs

Each starts a coordinator of its own in a temporary folder and prints a table in Markdown. Needs `fivefold` and
`fivefold-coordinator` in DIR (default target/release) and the packages of tests/grpc/requirements.txt.
"""

import argparse
import itertools
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKER = "bench"
LISTED = 20
# Calls before those that are timed.
WARM_UP = 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Client:
    """Calls of a coordinator, built from the descriptors that its reflection service returns."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        self.calls = {}

    def call(self, service, method, **fields):
        """One unary call with a request of `fields`; the answer."""
        if (service, method) not in self.calls:
            described = self.pool.FindServiceByName(f"fivefold.v1.{service}").FindMethodByName(method)
            answer = message_factory.GetMessageClass(described.output_type)
            send = self.channel.unary_unary(
                f"/fivefold.v1.{service}/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            self.calls[service, method] = (message_factory.GetMessageClass(described.input_type), send)
        request, send = self.calls[service, method]
        return send(request(**fields), timeout=60)


class Coordinator:
    """A coordinator program with one job set, of which others are copies. Leaving its context ends it."""

    def __init__(self, programs, folder, folds):
        self.state, self.log = folder / "state", folder / "log"
        data = folder / "data"
        fivefold = [programs / "fivefold"]
        self.run([*fivefold, "synth", "--out", data, "--train", "200", "--size", "16", "--seed", "1"])
        with open(self.log, "w") as log:
            command = [programs / "fivefold-coordinator", "--listen", "127.0.0.1:0", "--state", self.state]
            self.process = subprocess.Popen(command, stderr=log)
        try:
            address = self.wait_for_address()
            submit = ["submit", "--train-csv", data / "train.csv", "--image_size=16", f"--folds={folds}"]
            self.job_set_id = self.run([*fivefold, "--coordinator", f"http://{address}", *submit]).split()[-1]
            self.client = Client(address)
        except BaseException:
            self.__exit__()
            raise
        self.sets = 1

    @staticmethod
    def run(command):
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout

    def wait_for_address(self):
        while self.process.poll() is None:
            if found := re.search(r"listening on http://(\S+)", self.log.read_text()):
                return found.group(1)
            time.sleep(0.02)
        sys.exit(f"the coordinator did not start:\n{self.log.read_text()}")

    def fill(self, sets):
        """Submits copies until there are `sets` job sets."""
        first = self.client.call("JobSetService", "GetJobSet", job_set_id=self.job_set_id).job_set

        def submit(number):
            # Folds of its own: one folds file is not stored by several calls at a time.
            spec = type(first.spec)(split_shuffle=True, split_seed=number)
            spec = type(first.spec).FromString(first.spec.SerializeToString() + spec.SerializeToString())
            self.client.call("JobSetService", "SubmitJobSet", request_id=f"copy-{number}", spec=spec, manifests=first.manifests)

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(submit, range(self.sets, sets)))
        self.sets = max(sets, self.sets)

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def measure_rest(args, folder):
    """CPU of the process while nobody calls, in percent of one core."""
    print("| unfinished job sets | CPU at rest, of one core |\n|---|---|", flush=True)
    with Coordinator(args.bin, folder, folds=5) as coordinator:
        for sets in sorted(args.sets):
            coordinator.fill(sets)
            # Until the work of the submits is done.
            time.sleep(5)
            begin, used = time.monotonic(), coordinator.cpu_seconds()
            time.sleep(args.seconds)
            share = (coordinator.cpu_seconds() - used) / (time.monotonic() - begin)
            print(f"| {sets:,} | {100 * share:.1f}% |", flush=True)


def percentile(values, share):
    return sorted(values)[math.ceil(share * len(values)) - 1] * 1000


class Bench:
    """One worker, one call at a time over one connection."""

    def __init__(self, client, calls):
        self.client, self.calls = client, calls
        self.requests = itertools.count()
        source = (ROOT / "proto/src/lib.rs").read_text()
        self.protocol = int(re.search(r"PROTOCOL: u32 = (\d+)", source).group(1))
        worker = dict(name=WORKER, device="cpu", version="0", protocol=self.protocol, has_image_folder=True)
        client.call("WorkerService", "RegisterWorker", **worker)

    def lease(self):
        request = dict(
            worker_name=WORKER,
            wait_seconds=0,
            request_id=f"lease-{next(self.requests)}",
            protocol=self.protocol,
            has_image_folder=True,
        )
        return self.client.call("WorkerService", "AcquireLease", **request)

    def release(self, answer):
        reference = dict(job_id=answer.lease.job_id, attempt=answer.lease.attempt)
        self.client.call("WorkerService", "ReleaseLease", lease=reference)

    def list_workers(self):
        return self.client.call("WorkerService", "ListWorkers")

    def list_job_sets(self):
        return self.client.call("JobSetService", "ListJobSets", page_size=LISTED)

    def print_row(self, jobs, what, call, after=lambda answer: None):
        """Times `call`, and not `after`, which gets its answer."""
        taken = []
        for number in range(self.calls + WARM_UP):
            begin = time.perf_counter()
            answer = call()
            seconds = time.perf_counter() - begin
            after(answer)
            if number >= WARM_UP:
                taken.append(seconds)
        print(f"| {jobs:,} | {what} | {percentile(taken, 0.5):.1f} ms | {percentile(taken, 0.99):.1f} ms |", flush=True)


def measure_lease(args, folder):
    """Latency of a lease and of two lists."""
    folds = 100
    print("| queued jobs | call | p50 | p99 |\n|---|---|---|---|", flush=True)
    with Coordinator(args.bin, folder, folds) as coordinator:
        bench = Bench(coordinator.client, args.calls)
        held = [bench.lease() for _ in range(folds)]
        bench.print_row(0, "AcquireLease, without a job", bench.lease)
        for answer in held:
            bench.release(answer)
        for jobs in sorted(args.jobs):
            coordinator.fill(math.ceil(jobs / folds))
            queued = coordinator.sets * folds
            bench.print_row(queued, "AcquireLease", bench.lease, bench.release)
            bench.print_row(queued, "ListWorkers", bench.list_workers)
            bench.print_row(queued, f"ListJobSets, {min(LISTED, coordinator.sets)} of them", bench.list_job_sets)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rest", "lease"])
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release")
    parser.add_argument("--sets", type=int, nargs="+", default=[50, 550, 1050, 2000, 5000])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--calls", type=int, default=300)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fivefold-bench-") as folder:
        {"rest": measure_rest, "lease": measure_lease}[args.what](args, pathlib.Path(folder))


if __name__ == "__main__":
    main()
