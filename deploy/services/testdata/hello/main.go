// Command hello is built by the tests of package services.
package main

import "fmt"

func main() { fmt.Println("hello") }
