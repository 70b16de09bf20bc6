// The load of an etcd group, by etcd's own client: one verb a run, what it found as JSON, one object a line.
//
//	load   closed loop of puts and gets; says {"edge":true} at both ends of the measured time, then figures
//	probe  one put after another; the longest time between two that were acknowledged
//	leader the endpoint that leads, once there is one
//	move   has another member lead
//	ready  returns once the endpoint answers a linearizable get
//
// Laws: the same as those of `raftkit bench`: an operation is measured if it began in the measured time,
// however long it takes; an attempt of the probe is given up after 200 ms.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const (
	keys     = 1000
	attempt  = 200 * time.Millisecond
	patience = 20 * time.Second
	pause    = 5 * time.Millisecond
)

var (
	endpoints   = flag.String("endpoints", "", "HOST:PORT,…")
	outstanding = flag.Int("outstanding", 1, "operations under way")
	clients     = flag.Int("clients", 8, "connections, at most one for each operation under way")
	writes      = flag.Int("writes-in-ten", 10, "of every ten operations; the others get")
	size        = flag.Int("bytes", 32, "of a value")
	warmUp      = flag.Float64("warm-up", 1, "seconds before the measured time")
	measured    = flag.Float64("seconds", 5, "of the measured time; of the probe")
)

func main() {
	verb := os.Args[1]
	flag.CommandLine.Parse(os.Args[2:])
	verbs := map[string]func(){"load": load, "probe": probe, "leader": leader, "move": move, "ready": ready}
	verbs[verb]()
}

func load() {
	count := *clients
	if *outstanding < count {
		count = *outstanding
	}
	connections := make([]*clientv3.Client, count)
	for i := range connections {
		connections[i] = connect(strings.Split(*endpoints, ","))
	}
	begins := time.Now().Add(seconds(*warmUp))
	ends := begins.Add(seconds(*measured))
	go func() {
		time.Sleep(time.Until(begins))
		say(map[string]interface{}{"edge": true})
		time.Sleep(time.Until(ends))
		say(map[string]interface{}{"edge": true})
	}()
	var number, failed int64
	found := make([][]float64, *outstanding)
	var tasks sync.WaitGroup
	for i := range found {
		tasks.Add(1)
		go func(task int) {
			defer tasks.Done()
			found[task] = loop(connections[task%count], begins, ends, &number, &failed)
		}(i)
	}
	tasks.Wait()
	var all []float64
	for _, each := range found {
		all = append(all, each...)
	}
	sort.Float64s(all)
	say(map[string]interface{}{
		"rate":   float64(len(all)) / *measured,
		"p50_ms": percentile(all, 0.5), "p99_ms": percentile(all, 0.99),
		"failed": failed,
	})
}

// One task: one operation after another until `ends`. The latencies of what began in the measured time, in ms.
func loop(client *clientv3.Client, begins, ends time.Time, number, failed *int64) []float64 {
	var latencies []float64
	value := strings.Repeat("x", *size)
	for began := time.Now(); began.Before(ends); began = time.Now() {
		n := atomic.AddInt64(number, 1)
		key := fmt.Sprintf("k%d", n%keys)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		var err error
		if n%10 < int64(*writes) {
			_, err = client.Put(ctx, key, value)
		} else {
			_, err = client.Get(ctx, key)
		}
		cancel()
		if err != nil {
			atomic.AddInt64(failed, 1)
		} else if !began.Before(begins) {
			latencies = append(latencies, float64(time.Since(began))/1e6)
		}
	}
	return latencies
}

func probe() {
	client := connect(strings.Split(*endpoints, ","))
	value := strings.Repeat("x", *size)
	begins := time.Now()
	ends := begins.Add(seconds(*measured))
	var last time.Time
	longest, acknowledged, failed := time.Duration(0), 0, 0
	for now := begins; now.Before(ends); now = time.Now() {
		ctx, cancel := context.WithTimeout(context.Background(), attempt)
		_, err := client.Put(ctx, "probe", value)
		cancel()
		if err != nil {
			failed++
			time.Sleep(pause)
			continue
		}
		now = time.Now()
		if acknowledged > 0 && now.Sub(last) > longest {
			longest = now.Sub(last)
		}
		last = now
		acknowledged++
	}
	if acknowledged == 0 {
		last = begins
	}
	if tail := ends.Sub(last); tail > longest {
		longest = tail
	}
	say(map[string]interface{}{
		"gap_ms": float64(longest) / 1e6, "acknowledged": acknowledged, "failed": failed,
	})
}

func leader() {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if endpoint, _ := whoLeads(); endpoint != "" {
			say(map[string]interface{}{"leader": endpoint})
			return
		}
	}
	fail("no leader")
}

func move() {
	endpoint, id := whoLeads()
	client := connect([]string{endpoint})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	members, err := client.MemberList(ctx)
	if err != nil {
		fail(err.Error())
	}
	for _, member := range members.Members {
		if member.ID != id {
			if _, err = client.MoveLeader(ctx, member.ID); err != nil {
				fail(err.Error())
			}
			break
		}
	}
	say(map[string]interface{}{"moved": true})
}

// The endpoint that says it leads, and its member's ID; "" without one.
func whoLeads() (string, uint64) {
	for _, endpoint := range strings.Split(*endpoints, ",") {
		client := connect([]string{endpoint})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		status, err := client.Status(ctx, endpoint)
		cancel()
		client.Close()
		if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
			return endpoint, status.Leader
		}
	}
	return "", 0
}

func ready() {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		client := connect(strings.Split(*endpoints, ","))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := client.Get(ctx, "k1")
		cancel()
		client.Close()
		if err == nil {
			say(map[string]interface{}{"ready": true})
			return
		}
		time.Sleep(pause)
	}
	fail("not ready")
}

func connect(to []string) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{Endpoints: to, DialKeepAliveTime: time.Second, DialKeepAliveTimeout: time.Second})
	if err != nil {
		fail(err.Error())
	}
	return client
}

func seconds(count float64) time.Duration { return time.Duration(count * float64(time.Second)) }

// The lowest value that so much of all do not exceed; nil of nothing.
func percentile(ordered []float64, part float64) interface{} {
	if len(ordered) == 0 {
		return nil
	}
	return ordered[int(part*float64(len(ordered)-1))]
}

var saying sync.Mutex

func say(found map[string]interface{}) {
	saying.Lock()
	defer saying.Unlock()
	json.NewEncoder(os.Stdout).Encode(found)
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
