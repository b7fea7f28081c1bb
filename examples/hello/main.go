// SPDX-License-Identifier: Apache-2.0

// Command hello answers over HTTP: the first example of "An introduction to rkt".
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
)

func main() {
	addr := flag.String("addr", ":5000", "where to listen")
	flag.Parse()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("request from %v", r.RemoteAddr)
		fmt.Fprintln(w, "hello")
	})
	log.Fatal(http.ListenAndServe(*addr, nil))
}
