// Answers what robfig/cron, the reader of Kubernetes' CronJobs, says the next times of an expression are.
//
// One case a line on standard input: expression, zone, start in seconds since 1970, and how many times are asked for,
// with tabs between. One answer a line: the times in seconds, or "error" and why.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

func answer(out *bufio.Writer, line string) {
	fields := strings.Split(line, "\t")
	if len(fields) != 4 {
		fmt.Fprint(out, "error four fields expected")
		return
	}
	zone, err := time.LoadLocation(fields[1])
	if err != nil {
		fmt.Fprintf(out, "error %v", err)
		return
	}
	schedule, err := cron.ParseStandard(fields[0])
	if err != nil {
		fmt.Fprintf(out, "error %v", err)
		return
	}
	start, _ := strconv.ParseInt(fields[2], 10, 64)
	count, _ := strconv.Atoi(fields[3])
	at := time.Unix(start, 0).In(zone)
	for index := 0; index < count; index++ {
		at = schedule.Next(at)
		if at.IsZero() {
			break
		}
		if index > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(strconv.FormatInt(at.Unix(), 10))
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for in.Scan() {
		if in.Text() == "" { // The end of a batch.
			out.Flush()
			continue
		}
		answer(out, in.Text())
		out.WriteByte('\n')
	}
	out.Flush()
}
